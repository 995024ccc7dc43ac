"""One module a command: a function of the public API, and its summary for people."""
