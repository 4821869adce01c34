"""A text format for "is a kind of": `dog animal`, `entity/animal/dog`.

A line is one of these; `#` at its start makes it a comment::

    dog animal              a dog is a kind of animal; a tab separates names of several words
    entity/animal/dog       the same for a whole path from the top; its names may have blanks
    entity                  a name of the top level
    hot dog = hotdog        a label is another name for a node
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Final

from darknet_py.errors import CfgError, DarknetError, Location
from darknet_py.files import read_text
from darknet_py.tree.wordtree import MAX_BYTES, MAX_LINES

NAME_BYTES: Final = 255  # the C program's limit
SHOWN: Final = 5
_SAME: Final = re.compile(r"(?:^|\s)=(?:\s|$)")


@dataclass
class Kinds:
    """The content of such lines: the possible parents of every name (none: the top level), and the nodes of labels.

    Names in `above` and `same` have `_` for blanks, as in a .tree file; `written` has them as written.
    """

    above: dict[str, dict[str, None]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> Kinds:
        """Read a file of lines."""
        return cls.parse(read_text(path, MAX_BYTES), str(path))

    @classmethod
    def parse(cls, text: str, source: str = "lines") -> Kinds:
        """Read lines; raises `CfgError` for one in none of the four forms, and for names in a circle."""
        if text.count("\n") > MAX_LINES:
            raise CfgError(f"more than {MAX_LINES} lines; is this the right file?", Location(source))
        kinds = cls()
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip() and not line.startswith("#"):
                try:
                    kinds._take(line.strip())
                except DarknetError as error:
                    raise CfgError(str(error), Location(source, number)) from None
        try:
            kinds.with_one_way()
        except CycleError as error:
            circle = " - ".join(error.args[1][:SHOWN])
            raise CfgError(f"these names are kinds of each other: {circle}", Location(source)) from None
        return kinds

    def _take(self, line: str) -> None:
        if len(parts := _SAME.split(line, maxsplit=1)) == 2:
            self.same[name_of(parts[0])] = name_of(parts[1])
            return
        if "/" in line:
            way = [self._name(part) for part in line.split("/")]
        else:
            words = line.split("\t") if "\t" in line else line.split()
            if len(words) > 2:
                raise DarknetError(f"`child parent` or top/.../child was expected, not {line[:40]!r}")
            way = [self._name(word) for word in reversed(words)]
        for parent, child in pairwise(way):
            self.above[child][parent] = None

    def _name(self, text: str) -> str:
        name = name_of(text)
        self.written.setdefault(name, text.strip())
        self.above.setdefault(name, {})
        return name

    def lowest(self) -> list[str]:
        """The names without children."""
        parents = {parent for above in self.above.values() for parent in above}
        return [name for name in self.above if name not in parents]

    def with_one_way(self) -> set[str]:
        """The names with only one path from the top level."""
        found: set[str] = set()
        for name in TopologicalSorter(self.above).static_order():
            if len(self.above[name]) <= 1 and all(parent in found for parent in self.above[name]):
                found.add(name)
        return found


def name_of(text: str) -> str:
    """A name as in a .tree file, with `_` for blanks; raises `DarknetError` if it is empty or too long."""
    name = "_".join(text.split())
    if not name or len(name.encode("utf-8", "surrogateescape")) > NAME_BYTES:
        raise DarknetError(f"a name of 1 to {NAME_BYTES} bytes was expected, not {text[:40]!r}")
    return name
