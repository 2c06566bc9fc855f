"""API keys: the key file, and what each key may do and use."""
