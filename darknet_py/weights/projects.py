"""What the tensors of a network are called in the state dicts of other projects.

Each names them after the layer's number in the cfg. Their batch normalization is Darknet's but for its epsilon, which
is 1e-4 in ultralytics/yolov3 since March 2020.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import torch
from torch import Tensor

from darknet_py.errors import DarknetError, WeightsError, shown
from darknet_py.layers.connected import Connected
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.heads import GridHead
from darknet_py.network.graph import Graph, Node
from darknet_py.network.module import Network

WRAPPERS: Final = ("module", "_orig_mod", "model", "net", "network", "ema", "model_ema", "state_dict", "student")
_WRAPPED: Final = re.compile(rf"(?:(?:{'|'.join(WRAPPERS)})\.)*")  # of DataParallel, torch.compile, trainers
COUNTER: Final = "num_batches_tracked"  # beside every running variance; of no use here, so that files may lack it
COUNTERS: Final = (COUNTER, "total_ops", "total_params")  # the others thop leaves where it counted operations

IDENTITY: Final[Mapping[str, str]] = {}  # stands for names as they are

T = TypeVar("T")
Modules = Callable[[Node, int], Mapping[str, str]]
Extras = Callable[[Node], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Key:
    """A tensor: its key in `Network.state_dict()`, and its key in a file."""

    own: str
    foreign: str
    shape: tuple[int, ...]

    @property
    def layer(self) -> int:
        return int(self.own.split(".")[1])

    @property
    def is_variance(self) -> bool:
        return self.own.endswith("running_var")

    @property
    def is_counter(self) -> bool:
        return self.own.endswith(COUNTER)


@dataclass(frozen=True)
class Layout:
    """The keys of a project.

    `modules` gives, for a layer and the number of convolutions up to it, what the modules are called that are `conv`,
    `bn`, `linear`, ... here. `extras` are tensors without weights that the project's modules have too.
    """

    name: str
    pattern: re.Pattern[str]  # what its keys look like
    modules: Modules
    extras: Extras = lambda _: {}

    def keys(self, network: Network, start: int = 0, end: int | None = None) -> tuple[Key, ...]:
        """The tensors of the layers from `start` to before `end`, in a file that begins with the first of them.

        Raises `DarknetError` for a layer that the project does not have.
        """
        numbered = _numbered(network.graph, start, end)
        return tuple(key for node, number in numbered for key in self._of(network, node, number, node.index - start))

    def extra_tensors(self, graph: Graph) -> dict[str, Tensor]:
        """The tensors without weights."""
        return {key: tensor for node in graph.nodes for key, tensor in self.extras(node).items()}

    def _of(self, network: Network, node: Node, number: int, place: int) -> Iterator[Key]:
        modules = self.modules(replace(node, index=place), number)
        for name, tensor in network.layers[node.index].state_dict().items():
            part, _, leaf = name.rpartition(".")
            if part not in modules and modules is not IDENTITY:
                raise DarknetError(f"{self.name} has no name for {name} of {node}")
            own, shape = f"layers.{node.index}.{name}", tuple(tensor.shape)
            yield Key(own, f"layers.{place}.{name}" if modules is IDENTITY else f"{modules[part]}.{leaf}", shape)


def _numbered(graph: Graph, start: int, end: int | None) -> Iterator[tuple[Node, int]]:
    """Some layers, each with the number of convolutions among them up to and with it."""
    number = 0
    for node in graph.nodes[start:end]:
        number += _convolves(node)
        yield node, number


def _convolves(node: Node) -> bool:
    return isinstance(node.layer, Convolutional)


def _darknet_py(_node: Node, _number: int) -> Mapping[str, str]:
    return IDENTITY


def _ultralytics(node: Node, _number: int) -> dict[str, str]:
    start = f"module_list.{node.index}"
    return {"conv": f"{start}.Conv2d", "bn": f"{start}.BatchNorm2d"} if _convolves(node) else {}


def _eriklindernoren(node: Node, _number: int) -> dict[str, str]:
    n = node.index
    parts = {"conv": f"module_list.{n}.conv_{n}", "bn": f"module_list.{n}.batch_norm_{n}"}
    return parts if _convolves(node) else {}


def _eriklindernoren_anchors(node: Node) -> dict[str, Tensor]:
    if not isinstance(node.layer, GridHead) or node.layer.coder.unit != "pixels":
        return {}
    anchors = torch.tensor(node.layer.anchor_boxes, dtype=torch.float32)
    start = f"module_list.{node.index}.yolo_{node.index}"
    return {f"{start}.anchors": anchors, f"{start}.anchor_grid": anchors.view(1, -1, 1, 1, 2).clone()}


def _marvis(node: Node, number: int) -> dict[str, str]:
    n = node.index
    if _convolves(node):
        return {"conv": f"models.{n}.conv{number}", "bn": f"models.{n}.bn{number}"}
    if isinstance(node.layer, Connected):
        return {"linear": f"models.{n}" if node.layer.activation == "linear" else f"models.{n}.0"}
    return {}


LAYOUTS: Final[Mapping[str, Layout]] = {
    layout.name: layout
    for layout in (
        Layout("darknet_py", re.compile(r"layers\.\d+\."), _darknet_py),
        Layout("ultralytics", re.compile(r"module_list\.\d+\.(Conv2d|BatchNorm2d)\."), _ultralytics),
        Layout(
            "eriklindernoren",
            re.compile(r"module_list\.\d+\.(conv|batch_norm|yolo)_\d+\."),
            _eriklindernoren,
            _eriklindernoren_anchors,
        ),
        Layout("marvis", re.compile(r"models\.\d+\.((conv|bn)\d+\.|0\.|weight$|bias$)"), _marvis),
    )
}


def layout_named(name: str | None) -> Layout:
    """The layout of that name, this package's own for None; raises `DarknetError` where there is none."""
    found = LAYOUTS.get(name or "darknet_py")
    if found is None:
        raise DarknetError(f"there is no layout {name!r}; there are {', '.join(LAYOUTS)}")
    return found


def detect(keys: Collection[str]) -> Layout:
    """The layout that most keys look like; raises `WeightsError` where it is none of these."""
    counts = {layout: sum(layout.pattern.match(key) is not None for key in keys) for layout in LAYOUTS.values()}
    best = max(counts, key=lambda layout: counts[layout])
    if keys and not counts[best]:
        first = ", ".join(shown(key, 60) for key in sorted(keys)[:3])
        raise WeightsError(f"its keys ({first}, ...) are those of none of these projects: {', '.join(LAYOUTS)}")
    return best


def unwrapped(tensors: Mapping[str, T]) -> dict[str, T]:
    """The tensors without what wrappers have put before their keys.

    Of a file with several copies of a network, such as `model.` and `ema.`, the largest is taken, else the first.
    """
    starts = {key: len(_WRAPPED.match(key)[0]) for key in tensors}  # type: ignore[index]  # it matches nothing too
    counts = Counter(key[:start] for key, start in starts.items() if looks_like(key[start:]))
    best = max(counts, key=lambda start: counts[start], default="")
    others = {start for start in counts if start != best}
    return {
        key[start if key[:start] == best else 0 :]: tensors[key]
        for key, start in starts.items()
        if key[:start] not in others or not looks_like(key[start:])
    }


def looks_like(key: str) -> bool:
    """Whether a key is one of a known layout."""
    return any(layout.pattern.match(key) for layout in LAYOUTS.values())
