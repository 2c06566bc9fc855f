"""A Hugging Face checkpoint on disk: opened lazily, checked against itself, merged with its adapters."""
