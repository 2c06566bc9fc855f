"""Load tests of a server over HTTP, and engines side by side, each a command of its own."""
