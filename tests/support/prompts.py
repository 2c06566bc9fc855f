"""Prompts whose answers the tests know."""

PARIS = [{"role": "user", "content": "What is the capital of France?"}]


COUNT = "1, 2, 3, 4, 5, 6, 7, 8,"
