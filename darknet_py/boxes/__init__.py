"""Boxes as numbers: formats, overlap, suppression. Knows nothing of networks."""
