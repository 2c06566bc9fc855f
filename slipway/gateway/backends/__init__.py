"""Backends: what generates answers. `base` defines a backend; each kind has a file of its own."""
