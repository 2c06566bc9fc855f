"""/tokenize and /detokenize, as in vLLM's server."""
