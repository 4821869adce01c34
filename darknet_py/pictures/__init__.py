"""Pixels: files, pictures and arrays in and out, Darknet's operations on them. Knows nothing of networks."""
