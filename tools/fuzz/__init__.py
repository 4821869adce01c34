"""Damaged files for every reader of the package: `python -m tools.fuzz KIND`."""
