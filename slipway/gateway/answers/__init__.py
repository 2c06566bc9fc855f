"""One answer, and several at once, on their way from a backend to a reply."""
