"""An engine in a process of its own, so that its crash is not the crash of the server."""
