"""Whether names are those of a network's classes, as far as their number tells."""

from __future__ import annotations

from collections.abc import Sequence

from darknet_py.errors import NamesError
from darknet_py.network.graph import Graph

ANYWAY = "--names-anyway (in Python names_anyway=True) takes them nevertheless"


def classes_of(graph: Graph) -> tuple[int, bool]:
    """How many classes a network tells apart, and whether it does so for boxes."""
    head = graph.heads[-1]
    boxes: int | None = getattr(head.layer, "classes", None)
    return (head.shape.size, False) if boxes is None else (boxes, True)


def check_names(graph: Graph, names: Sequence[str], source: str) -> None:
    """Raise `NamesError` where names are too few for the classes of a network, or too many for those of a detector.

    A classifier may know the first classes of a longer list. Empty names at the end may be there or not, and no names
    at all are right for every network.
    """
    classes, exact = classes_of(graph)
    count = named(names)
    if not names or ((count <= classes or not exact) and classes <= len(names)):
        return
    has = "has" if exact else "is a classifier of"
    raise NamesError(f"{source} has {count} names, but {graph.source} {has} {classes} classes; {ANYWAY}")


def named(names: Sequence[str]) -> int:
    """How many classes have names: lines without one at the end of a file are none."""
    return next((n for n in range(len(names), 0, -1) if names[n - 1].strip()), 0)
