"""A terminal client for an OpenAI-compatible server: one answer, or a chat."""
