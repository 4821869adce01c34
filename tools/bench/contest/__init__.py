"""Contests between engines on the same networks."""
