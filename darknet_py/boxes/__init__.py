"""Box formats, overlap and suppression. Knows nothing of networks."""
