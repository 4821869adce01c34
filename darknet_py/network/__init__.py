"""A cfg becomes a network. Knows nothing of files of weights."""

from darknet_py.network.module import Network

__all__ = ["Network"]
