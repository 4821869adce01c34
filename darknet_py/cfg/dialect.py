"""A dialect: what one Darknet program reads in a cfg and how it goes about it, as a value."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import Field, dataclass, field, replace
from enum import Enum, auto
from typing import Any, NamedTuple, TypeVar

from darknet_py.cfg.keys import fields_of, parse_entry, refuse
from darknet_py.cfg.section import Entry, Section
from darknet_py.cfg.unbuilt import Unbuilt
from darknet_py.errors import CfgError, Location, shown

S = TypeVar("S", bound=type[Any])
Schemas = MutableMapping[str, type[Any]]  # dataclasses by the names of their sections


class Fit(Enum):
    """How a picture is brought to the size of a network's input."""

    LETTERBOX = auto()  # as it is, with grey beside it
    STRETCH = auto()


class Augment(Enum):
    """How training changes a picture with boxes; `data.augment.DRAWS` has a class for each."""

    PLACE = auto()  # somewhere on a grey canvas
    CROP = auto()  # a part of it, stretched


class Mark(NamedTuple):
    """A place by which a cfg is known to be in a dialect."""

    what: str
    where: Location
    built: bool  # whether a schema reads it


@dataclass(frozen=True, eq=False)
class Dialect:
    """What one Darknet program reads in a cfg, and what it does where the cfg does not say.

    `child` makes a dialect of another: what it is not given is as in its parent.
    """

    name: str
    program: str  # as messages call it
    parent: Dialect | None = None
    fit: Fit = Fit.LETTERBOX
    augment: Augment = Augment.PLACE
    nms: float = 0.45  # the overlap above which `detect` drops the lower box
    version: tuple[int, int, int] = (0, 2, 0)  # of the weights files that it writes
    unbuilt: Unbuilt | None = None
    sections: ChainMap[str, type[Any]] = field(default_factory=ChainMap, repr=False)
    first: ChainMap[str, type[Any]] = field(default_factory=ChainMap, repr=False)  # what a cfg begins with

    def child(self, name: str, program: str, *, unbuilt: Unbuilt | None = None, **different: Any) -> Dialect:
        """A dialect that is as this one but for `different` fields and what is registered for it."""
        child = replace(self, name=name, program=program, parent=self, unbuilt=unbuilt, **different)
        return replace(child, sections=self.sections.new_child(), first=self.first.new_child())

    def register(self, *names: str, first: bool = False) -> Callable[[S], S]:
        """Make a dataclass the schema of a section, or of the `first` section; messages use the first of its names.

        A schema of the parent is replaced, under all its names; raises `ValueError` for a name that this dialect has.
        """
        table = (self.first if first else self.sections).maps[0]

        def add(schema: S) -> S:
            for name in names:
                if name in table:
                    raise ValueError(f"[{name}] of dialect {self.name} is {table[name].__name__} already")
            schema.type = names[0]
            table.update(dict.fromkeys(names, schema))
            return schema

        return add

    def schema(self, section: str) -> type[Any] | None:
        """The schema of a section, by any of its names; None where there is no such section."""
        return _find(self.sections, section) or _find(self.first, section)

    def has_key(self, section: str, key: str) -> bool:
        """Whether the program reads such a key in a section."""
        schema = self.schema(section)
        if schema is None:
            return False
        return key in fields_of(schema) or (self.unbuilt is not None and self.unbuilt.has_key(schema.type, key))

    def marks(self, sections: Iterable[Section]) -> Iterator[Mark]:
        """The places of a cfg of which this program makes something, and its parent's nothing or another thing."""
        if self.parent is None:
            return
        for section in sections:
            own, inherited = self.schema(section.type), self.parent.schema(section.type)
            if own is None or inherited is None:
                if own is not None or (self.unbuilt is not None and section.type in self.unbuilt.sections):
                    yield Mark(f"[{section.type}]", section.where, own is not None)
                continue
            for entry in section.entries:
                unbuilt = self.unbuilt is not None and self.unbuilt.changes(own.type, section, entry)
                read = own is not inherited and _differs(own, inherited, section, entry)
                if (unbuilt or read) and section.find(entry.key) is entry:
                    yield Mark(f"[{section.type}] {shown(entry, 60)}", entry.where, not unbuilt)


def _find(table: ChainMap[str, type[Any]], section: str) -> type[Any] | None:
    """A schema by any name that it or the one that it replaces has."""
    found = table.get(section)
    return None if found is None else table[found.type]


def _differs(own: type[Any], inherited: type[Any], section: Section, entry: Entry) -> bool:
    """Whether a schema makes something of an entry of which the one that it replaces makes nothing."""
    mine, its = (fields_of(schema).get(entry.key) for schema in (own, inherited))
    if mine is None or (value := _parsed(mine, section, entry)) is None:
        return False
    return value != mine.default if its is None else _parsed(its, section, entry) is None


def _parsed(key: Field[Any], section: Section, entry: Entry) -> Any:
    """The value of an entry, or None where its key does not take it as it is."""
    try:
        return parse_entry(key.metadata["parse"], entry, section, refuse)
    except CfgError:
        return None


DARKNET = Dialect("darknet", "Darknet")
