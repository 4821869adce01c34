"""Other engines, made ready to compute what ours do."""
