"""The cycle model: what the engine does when, from the program alone."""
