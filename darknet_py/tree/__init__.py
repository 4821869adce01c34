"""Trees of classes. Knows nothing of networks."""

from darknet_py.tree.walk import TreeSoftmax
from darknet_py.tree.wordtree import WordTree, read_map

__all__ = ["TreeSoftmax", "WordTree", "read_map"]
