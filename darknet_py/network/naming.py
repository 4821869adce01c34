"""Checks that there are as many names as a network has classes."""

from __future__ import annotations

from collections.abc import Sequence

from darknet_py.errors import NamesError
from darknet_py.network.graph import Graph

ANYWAY = "--names-anyway (in Python names_anyway=True) uses them in spite of it"


def classes_of(graph: Graph) -> tuple[int, bool]:
    """The number of classes of a network, and whether it is a detector."""
    head = graph.heads[-1]
    boxes: int | None = getattr(head.layer, "classes", None)
    return (head.shape.size, False) if boxes is None else (boxes, True)


def check_names(graph: Graph, names: Sequence[str], source: str) -> None:
    """Raise `NamesError` if there are too few names for the classes of a network, or too many for a detector.

    A classifier may use the first names of a longer list. Empty names at the end do not count, and no names at all are
    right for every network.
    """
    classes, exact = classes_of(graph)
    count = named(names)
    if not names or ((count <= classes or not exact) and classes <= len(names)):
        return
    has = "has" if exact else "is a classifier of"
    raise NamesError(f"{source} has {count} names, but {graph.source} {has} {classes} classes; {ANYWAY}")


def named(names: Sequence[str]) -> int:
    """The number of classes with names; empty lines at the end do not count."""
    return next((n for n in range(len(names), 0, -1) if names[n - 1].strip()), 0)
