"""Other runtimes, prepared to compute the same as our engines."""
