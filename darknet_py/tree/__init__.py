"""Trees of classes. Knows nothing of networks."""

from darknet_py.tree.softmax import TreeSoftmax
from darknet_py.tree.walk import TreeWalk
from darknet_py.tree.wordtree import WordTree, read_map

__all__ = ["TreeSoftmax", "TreeWalk", "WordTree", "read_map"]
