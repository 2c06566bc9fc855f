"""Talk to an OpenAI-compatible server from the terminal: one answer, or a chat. Knows only HTTP."""
