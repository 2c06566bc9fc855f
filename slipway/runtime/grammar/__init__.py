"""Grammars that constrain an answer, by llguidance."""
