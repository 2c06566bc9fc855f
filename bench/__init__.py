"""Load tests of a server over HTTP, and engines side by side on this machine."""
