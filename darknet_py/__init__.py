"""Darknet in PyTorch: original cfg and .weights files, the C program's numbers."""

__version__ = "0.1.0"
