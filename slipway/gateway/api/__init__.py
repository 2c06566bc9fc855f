"""The shapes of each API, one file for each: bodies, answers, events."""
