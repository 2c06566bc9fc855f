"""POST /v1/completions, OpenAI's API for plain prompts."""
