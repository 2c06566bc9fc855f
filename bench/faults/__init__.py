"""Clients that misbehave on purpose, and what the others notice of it."""
