"""Tools of the project, run from its root: `python -m tools.demo`. They are no part of the installed package."""
