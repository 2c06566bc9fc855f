"""The OpenAI-compatible HTTP server: one front for every engine, started with `slipway gateway`."""
