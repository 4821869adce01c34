"""Dialects as values: schemas of a parent and one's own, which dialect a cfg is in, and no question for a name."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

import darknet_py
from darknet_py.boxes.suppress import Nms
from darknet_py.cfg import parse
from darknet_py.cfg.dialect import DARKNET, Dialect, Fit
from darknet_py.cfg.dialects import ALEXEYAB, DIALECTS, chosen
from darknet_py.cfg.keys import flag, integer, key, list_of, number
from darknet_py.cfg.unbuilt import Unbuilt
from darknet_py.errors import CfgError, CfgWarning, DarknetError
from darknet_py.layers import REGISTRY, register
from darknet_py.layers.base import Layer
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.dropout import Dropout
from darknet_py.layers.shortcut import Shortcut
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network
from darknet_py.network.net import Net
from darknet_py.network.summary import as_dict
from darknet_py.predict.detector import Detector
from darknet_py.weights import Header, save

PACKAGE = Path(darknet_py.__file__).parent
NET = "[net]\nwidth=8\nheight=8\nchannels=3\n"
CONV = "[convolutional]\nfilters=3\n"
BY_NAME = re.compile(r"""\b(DARKNET|ALEXEYAB)\b|['"](darknet|alexeyab)['"]|\bdialect(\.name)? (==|!=|in) """)
YOLO = "[convolutional]\nfilters=6\n[yolo]\nclasses=1\nanchors=1,1\n"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Dialect:
    """A dialect with a section, keys, words and a `[net]` of its own, and something that is not built."""
    unbuilt = Unbuilt(frozenset({"later"}), frozenset(), {"route": {"swap": lambda _section, _value: True}}, {})
    made = DARKNET.child("toy", "the toy program", unbuilt=unbuilt, fit=Fit.STRETCH, nms=0.6, version=(0, 3, 1))
    monkeypatch.setitem(DIALECTS, "toy", made)

    @made.register("convolutional")
    @dataclass(frozen=True, kw_only=True)
    class ToyConvolutional(Convolutional):
        wide: bool = key(flag, False, "a key of its own")

    @made.register("shortcut")
    @dataclass(frozen=True, kw_only=True)
    class ToyShortcut(Shortcut):
        alpha: Any = key(list_of(number), (1.0,), "a list where Darknet has a number")  # noqa: RUF009 - a field
        beta: float = key(number, 2.0, "another default")

    @made.register("same", "alike")
    @dataclass(frozen=True, kw_only=True)
    class Same(Dropout):
        probability: float = key(number, 0.0, "a key that its parent has")

    @made.register("net", "network", first=True)
    @dataclass(frozen=True, kw_only=True)
    class ToyNet(Net):
        letter: int | None = key(integer, None, "pictures are letterboxed")

        @property
        def fit(self) -> Fit | None:
            return Fit.LETTERBOX if self.letter else None

    return made


@pytest.fixture
def nothing_registered() -> Iterator[None]:
    before = dict(REGISTRY)
    yield
    assert dict(REGISTRY) == before


@pytest.mark.usefixtures("nothing_registered")
@pytest.mark.parametrize("names", [("yolo",), ("new", "conv"), ("route", "newer")])
def test_a_name_that_is_taken_is_refused(names: tuple[str, ...]) -> None:
    class Other(Layer):
        pass

    with pytest.raises(ValueError, match=r"^\[(yolo|conv|route)\] of dialect darknet is \w+ already$"):
        register(*names)(Other)
    assert Other.type == ""


def test_a_dialect_takes_no_name_twice_but_may_replace_what_its_parent_has(toy: Dialect) -> None:
    with pytest.raises(ValueError, match=r"^\[alike\] of dialect toy is Same already$"):
        toy.register("alike")(Dropout)
    toy.register("dropout")(type("ToyDropout", (Dropout,), {}))
    assert toy.schema("dropout") is not Dropout is DARKNET.schema("dropout")


def test_a_schema_replaces_another_under_all_its_names(toy: Dialect) -> None:
    assert toy.schema("conv") is toy.schema("convolutional") is not DARKNET.schema("conv")
    assert toy.schema("maxpool") is DARKNET.schema("max")
    assert toy.schema("alike") is not None
    assert DARKNET.schema("alike") is None
    assert "same" not in REGISTRY


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (CONV, "darknet"),
        (f"{CONV}wide=1\n", "toy"),
        (f"{CONV}wide=0\n", "darknet"),  # the default changes nothing
        ("[conv]\nfilters=3\nsize=1\nwide=1\nwide=0\n", "toy"),
        (f"{CONV}wide=0\nwide=1\n", "darknet"),  # the first counts
        (f"{CONV}[same]\n", "toy"),
        (f"{CONV}{CONV}[shortcut]\nfrom=-2\nalpha=1,1\n", "toy"),
        (f"{CONV}{CONV}[shortcut]\nfrom=-2\nalpha=3\nbeta=2\n", "darknet"),  # as the parent reads it
    ],
)
@pytest.mark.filterwarnings("ignore::darknet_py.errors.CfgWarning")
def test_a_cfg_is_read_in_the_dialect_to_which_it_is_least_strange(toy: Dialect, text: str, name: str) -> None:
    graph = Graph.parse(NET + text)
    assert graph.dialect is DIALECTS[name]
    assert as_dict(graph)["dialect"] == name
    assert type(graph.net) is graph.dialect.schema("net")
    assert graph.resized(16, 16).dialect is graph.dialect


def test_the_dialect_with_the_most_of_its_own_wins(toy: Dialect) -> None:
    text = f"{NET}{CONV}wide=1\nactivation=leaky\n"
    assert chosen(parse(text)) is toy
    with pytest.raises(CfgError, match="for AlexeyAB's Darknet"):
        Graph.parse(f"{text}antialiasing=1\n{YOLO}scale_x_y=1.1\nnew_coords=1\n")


def test_what_is_not_built_yet_is_refused_and_all_else_is_read(toy: Dialect) -> None:
    assert Graph.parse(f"{NET}{CONV}wide=1\n").dialect is toy
    for more in ("[later]\n", "[route]\nswap=1\nlayers=-1\n"):
        with pytest.raises(CfgError, match=r"^x.cfg:\d+: this cfg is for the toy program, ") as caught:
            Graph.parse(f"{NET}{CONV}wide=1\n{more}", "x.cfg")
        assert re.findall(r"\(line \d+\)", str(caught.value)) == [f"(line {caught.value.where.line})"]
        assert caught.value.where.line > 7
    with pytest.raises(DarknetError, match="there is darknet; toy is not built yet$"):
        Graph.parse(NET + CONV, dialect="toy")


def test_a_dialect_is_named_and_reads_what_is_not_its_own_as_its_parent(toy: Dialect, monkeypatch) -> None:
    monkeypatch.setitem(DIALECTS, "toy", dataclasses.replace(toy, unbuilt=None))
    graph = Graph.parse(f"{NET}letter=1\n{CONV}wide=1\n[maxpool]\n", dialect="toy")
    assert [type(node.layer).__name__ for node in graph.nodes] == ["ToyConvolutional", "MaxPool"]
    with pytest.warns(CfgWarning, match=r"has no key 'wide'; the toy program alone reads it, and it is without effect"):
        assert type(Graph.parse(f"{NET}{CONV}wide=1\n", dialect="darknet").nodes[0].layer) is Convolutional


def test_pictures_are_fitted_as_the_head_says_or_net_or_the_dialect(toy: Dialect) -> None:
    def fit(text: str) -> Fit:
        return Graph.parse(text).fit

    assert fit(f"{NET}{CONV}{YOLO}") is Fit.LETTERBOX
    assert fit(f"{NET}{CONV}wide=1\n{YOLO}") is Fit.STRETCH
    assert fit(f"{NET}letter=1\n{CONV}wide=1\n{YOLO}") is Fit.LETTERBOX
    assert fit(f"{NET}[connected]\noutput=7\n[detection]\nclasses=2\ncoords=4\nside=1\n") is Fit.STRETCH


def test_a_detector_fits_as_its_dialect_does(toy: Dialect) -> None:
    wide = torch.zeros(3, 4, 8)
    letterboxed, stretched = (
        Detector(Network(Graph.parse(NET + CONV + more + YOLO))).fit(wide) for more in ("", "wide=1\n")
    )
    assert letterboxed[:, 0].eq(0.5).all()
    assert not stretched.any()


def test_boxes_suppress_each_other_as_in_the_dialect_where_nothing_else_is_asked_for(toy: Dialect) -> None:
    darknets, toys = (Detector(Network(Graph.parse(NET + CONV + more + YOLO))) for more in ("", "wide=1\n"))
    assert darknets.suppression() == Nms("class", 0.45)
    assert toys.suppression() == Nms("class", 0.6)
    assert toys.suppression(0) == Nms("class", 0)


def test_weights_have_the_version_of_their_dialect(toy: Dialect, tmp_path: Path) -> None:
    network = Network(Graph.parse(f"{NET}{CONV}wide=1\n"))
    assert network.header == Header(0, 3, 1)
    network.seen = 7
    save(network, tmp_path / "x.weights")
    assert Header.unpack((tmp_path / "x.weights").read_bytes()) == Header(0, 3, 1, 7)


def test_every_dialect_answers_for_sections_and_keys() -> None:
    assert ALEXEYAB.has_key("convolutional", "filters")
    assert ALEXEYAB.has_key("conv", "antialiasing")
    assert ALEXEYAB.has_key("network", "mosaic")
    assert ALEXEYAB.has_key("softmax", "dont_update")  # as in every section
    assert not ALEXEYAB.has_key("softmax", "mosaic")
    assert not ALEXEYAB.has_key("klingon", "mosaic")
    assert not DARKNET.has_key("conv", "antialiasing")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_code_asks_for_a_dialect_by_its_name(path: Path) -> None:
    """What differs in a layer is a schema of its own; what differs elsewhere is a field of the dialect."""
    compared = (ast.Compare, ast.match_case)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = ast.unparse(node) if isinstance(node, compared) else ""
        assert not BY_NAME.search(text)
