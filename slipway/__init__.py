"""From a built engine to an OpenAI-compatible endpoint: everything that serves."""
