"""Converts weights from one format to another, each time with a proof that nothing changed.

>>> from darknet_py import convert
>>> convert.convert("cfg/yolov2.cfg", "yolov2.weights", "yolov2.safetensors")
>>> convert.to_onnx(darknet_py.load("cfg/yolov2.cfg", "yolov2.weights").network, "yolov2.onnx", decode=True)
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from darknet_py import weights
from darknet_py.cfg import dumps
from darknet_py.convert.fold import beginning, fold
from darknet_py.convert.formats import Format, Options, check_options, format_in, format_of
from darknet_py.convert.proof import Proof, placing, prove, ready
from darknet_py.errors import DarknetError, DarknetWarning
from darknet_py.files import read_text
from darknet_py.files.targets import BY_NAME
from darknet_py.layers.parts.batchnorm import EPS
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network
from darknet_py.weights import Loaded, Partial, Reading
from darknet_py.weights.projects import COUNTER
from darknet_py.weights.slots import cutoff_of

__all__ = [
    "Options", "Proof", "Report", "beginning", "convert", "fold", "read_into", "to_export", "to_onnx", "to_python",
    "to_safetensors", "to_torch", "to_torchscript", "to_weights",
]  # fmt: skip


@dataclass(frozen=True)
class Report:
    """The result of a conversion."""

    source: str
    target: str
    format: str
    layers: int
    values: int  # parameters, and the means and variances of batch normalization
    proof: Proof | None  # None without a check
    cfg: str | None = None  # the cfg written beside the target

    @property
    def difference(self) -> float | None:
        """The largest difference between outputs of source and target."""
        return None if self.proof is None else self.proof.difference

    @property
    def scale(self) -> float | None:
        """The largest absolute value of those outputs."""
        return None if self.proof is None else self.proof.scale

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "proof"}
        proof = {} if self.proof is None else {"share": self.proof.share, "tolerance": self.proof.tolerance}
        return {**named, "difference": self.difference, "scale": self.scale, **proof}

    def __str__(self) -> str:
        what = f"{self.source} -> {self.target} ({self.format}): {self.layers} layers, {self.values:,} values"
        beside = [] if self.cfg is None else [f"its cfg is {self.cfg}"]
        return "\n".join((what, *beside, "not checked" if self.proof is None else str(self.proof)))


def convert(
    cfg: str | Path,
    source: str | Path,
    target: str | Path,
    *,
    strict: bool = False,
    partial: Partial = False,
    seen: int | None = None,
    upto: int | None = None,
    fold_bn: bool = False,
    check: bool = True,
    layout: str | None = None,
    bn_eps: float = EPS,
    dialect: str | None = None,
    **options: Any,
) -> Report:
    """Convert the weights of a cfg from one file into another, in the format of the target's suffix.

    `partial` takes the part of the source that fits and draws the rest as Darknet does. `upto` keeps only the layers
    before it, as a source or target named `.conv.N` does. `fold_bn` folds batch normalization into the weights; a
    target without a graph then gets its cfg beside it. `strict` and `dialect` are as in `load`; `options` are fields of
    `Options`.

    `layout` names the project whose keys the target has if it is a state dict, and otherwise that of the source, which
    is recognised anyway. `bn_eps` is the epsilon that this project adds to variances: the source's if that is a state
    dict, otherwise the target's.

    Raises `DarknetError` if the check fails or a file cannot be used; an old target then stays as it is.
    """
    cfg, source, target = Path(cfg), weights.find(source), Path(target)
    form, from_keys = format_of(target), weights.has_keys(source)
    to_keys = "layout" in form.target.takes
    asked = Options(layout=layout if to_keys or not from_keys else None, bn_eps=EPS if from_keys else bn_eps, **options)
    check_options(form.target, asked)
    graph = Graph.read(cfg, strict=strict, dialect=dialect)
    keys = Reading(layout=None if to_keys else layout, bn_eps=bn_eps) if from_keys else Reading()
    reading = replace(keys, partial=partial, assign=True)
    network, loaded = weights.made(graph, source, reading, generator=torch.Generator().manual_seed(0))
    if bad := network.eval().not_finite():
        text = f"{source}: values of {bad[0]} are NaN or infinite, so that the outputs compared mean nothing"
        warnings.warn(DarknetWarning(text), stacklevel=2)
    network = beginning(network, _layers(len(network.layers) if partial else loaded.held, source, target, upto))
    network.seen = network.seen if seen is None else seen
    written = fold(network) if fold_bn else network
    beside = target.with_suffix(".cfg") if fold_bn and form.values_only else None
    return _write(written, target, form, asked, source=str(source), check=check, before=network, beside=beside)


def read_into(
    network: Network, path: str | Path, layout: str | None = None, *, partial: Partial = False, bn_eps: float = EPS
) -> Loaded:
    """`weights.load`, for a state dict with the keys of `layout` and the epsilon of batch normalization `bn_eps`."""
    return weights.read(network, path, Reading(partial=partial, layout=layout, bn_eps=bn_eps))


def _writer(name: str) -> Callable[..., Report]:
    """The function `to_NAME`."""
    target = BY_NAME[name]

    def write(network: Network, path: str | Path, *, check: bool = True, **options: Any) -> Report:
        asked = Options(**options)
        check_options(target, asked)
        with ready(network) as source:
            return _write(source, Path(path), format_in(target.module), asked, source=network.graph.source, check=check)

    write.__name__ = write.__qualname__ = f"to_{name}"
    file = f"{' or '.join(target.suffixes)} file ({target.title})"
    takes = ", ".join(f"`{option}`" for option in sorted(target.takes)) or "none"
    write.__doc__ = f"Write a network to a {file}; fields of `Options` that apply beside `dtype`: {takes}."
    return write


to_weights = _writer("weights")
to_torch = _writer("torch")
to_safetensors = _writer("safetensors")
to_onnx = _writer("onnx")
to_export = _writer("export")
to_torchscript = _writer("torchscript")
to_python = _writer("python")


def _write(
    network: Network,
    target: Path,
    form: Format,
    options: Options,
    *,
    source: str,
    check: bool,
    before: Network | None = None,
    beside: Path | None = None,
) -> Report:
    text = dumps(network.graph.to_sections())
    if beside is not None and beside.exists() and read_text(beside) != text:
        raise DarknetError(f"{beside} is another cfg, and the folded network's goes there: name {target} otherwise")
    proof = None
    with placing(target) as path:
        form.write(network, path, options)
        if check:
            proof = prove(form, path, network, options, before)
            if not proof.holds:
                raise DarknetError(f"{target} was not written: {proof}; without the check it would be")
        if beside is not None:
            (path.parent / beside.name).write_text(text, encoding="utf-8")
    values = sum(tensor.numel() for key, tensor in network.state_dict().items() if not key.endswith(COUNTER))
    written = None if beside is None else str(beside)
    return Report(source, str(target), form.target.title, len(network.layers), values, proof, written)


def _layers(held: int, source: Path, target: Path, upto: int | None) -> int:
    """How many of the layers in the source are to be converted."""
    named = cutoff_of(target)
    if upto is not None and named is not None and upto != named:
        raise DarknetError(f"{target} is the name of the first {named} layers, and upto={upto}")
    wanted = held if upto is None and named is None else upto or named or 0
    if wanted > held:
        raise DarknetError(f"{source} holds the first {held} layers, and {wanted} are wanted")
    return wanted
