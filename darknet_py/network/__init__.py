"""Builds a network from a cfg. Knows nothing of weights files."""

from darknet_py.network.module import Network

__all__ = ["Network"]
