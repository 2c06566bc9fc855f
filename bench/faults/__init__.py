"""Faults done on purpose, by clients or to parts of a server, and what other clients notice of them."""
