"""Pictures: reading, writing and converting them, and Darknet's operations on them. Knows nothing of networks."""
