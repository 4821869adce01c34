"""Pictures in, boxes or classes out."""
