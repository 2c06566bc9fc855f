"""Tool calls in the text of an answer: a parser per model family, and calls that a grammar enforces."""
