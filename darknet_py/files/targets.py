"""The files that a network can be converted to: what can be said of them without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Target:
    """One kind of file; `convert.to_NAME` writes it."""

    name: str
    module: str  # in `convert/`, with the functions that write and run it
    title: str
    suffixes: tuple[str, ...]
    takes: frozenset[str]  # the fields of `convert.Options` that apply, beside `dtype`
    hint: str = ""  # for people who do not know the suffix


_KEYS = frozenset({"layout", "bn_eps"})
_GRAPH = frozenset({"decode", "dynamic_size"})
TARGETS: Final = (
    Target("weights", "darknet", "Darknet", (".weights", ".backup"), frozenset()),
    Target("torch", "state_dict", "PyTorch state dict", (".pt", ".pth"), _KEYS),
    Target("safetensors", "safetensors", "safetensors", (".safetensors",), _KEYS),
    Target("onnx", "onnx", "ONNX", (".onnx",), _GRAPH | {"nms", "thresh", "iou"}),
    Target("export", "export", "torch.export", (".pt2",), _GRAPH, "torch.export"),
    Target("torchscript", "torchscript", "TorchScript", (".ts",), _GRAPH, "TorchScript"),
    Target("python", "python", "Python source", (".py",), frozenset(), "a module in plain torch"),
)
BY_NAME: Final[Mapping[str, Target]] = {target.name: target for target in TARGETS}
BY_SUFFIX: Final[Mapping[str, Target]] = {suffix: target for target in TARGETS for suffix in target.suffixes}


def takers(option: str) -> str:
    """The suffixes whose files take an option, for people."""
    return ", ".join(suffix for suffix, target in BY_SUFFIX.items() if option in target.takes)
