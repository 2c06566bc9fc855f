"""POST /v1/chat/completions, OpenAI's API for conversations."""
