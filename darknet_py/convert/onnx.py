"""``.onnx``: by torch.export and torch's translation to ONNX; needs the extra `onnx`."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.export import ExportedProgram

from darknet_py.convert.export import export
from darknet_py.convert.formats import Format, Options
from darknet_py.convert.traceable import Traceable, comparable, expect, note, one_sequence
from darknet_py.errors import DarknetError
from darknet_py.files.targets import BY_NAME
from darknet_py.network.module import Network

MAX_BYTES: Final = 2**31 - 2**24  # the limit of a protobuf message, less a margin for what is not weights
AXES: Final = {0: "batch", 2: "rows", 3: "columns"}  # names of the input's dynamic axes
NMS: Final = """
nms (float[batch, count, 4] all_boxes, float[batch, count, classes] all_scores)
    => (float[found, 4] boxes, float[found] scores, int64[found] labels, int64[found] pictures)
    <int64[1] nms_most = {{2147483647}}, float[1] nms_iou = {{{iou:.9f}}}, float[1] nms_thresh = {{{thresh:.9f}}},
     int64[2] nms_picture_and_box = {{0, 2}}, int64 nms_picture = {{0}}, int64 nms_class = {{1}}>
{{
    {scores}
    nms_rows = NonMaxSuppression (all_boxes, nms_scores, nms_most, nms_iou, nms_thresh)
    nms_places = Gather <axis = 1> (nms_rows, nms_picture_and_box)
    boxes = GatherND (all_boxes, nms_places)
    scores = GatherND (nms_scores, nms_rows)
    labels = Gather <axis = 1> (nms_rows, nms_class)
    pictures = Gather <axis = 1> (nms_rows, nms_picture)
}}
"""
SCORES: Final = "nms_scores = Transpose <perm = [0, 2, 1]> (all_scores)"  # (N, C, K)
SCORES_OF_LABELS: Final = """
    nms_classes = Shape <start = 2> (all_probabilities)
    nms_off_and_on = Constant <value_floats = [0.0, 1.0]> ()
    nms_chosen = OneHot <axis = 1> (all_labels, nms_classes, nms_off_and_on)
    nms_axis = Constant <value_ints = [1]> ()
    nms_objectness = Unsqueeze (all_scores, nms_axis)
    nms_scores = Mul (nms_chosen, nms_objectness)
"""


def write(network: Network, path: Path, options: Options) -> None:
    """Write a network as one ONNX file, weights inside; its input is `images`.

    With `nms` there is one row per remaining box and class: `boxes` (M, 4), `scores`, `labels`, and `pictures` (M,),
    the index in the batch. They are ordered by picture, then by class, then by falling score.
    """
    onnx = needed("onnx")
    needed("onnxscript")
    check(options)
    module = Traceable(network, options)
    size = sum(value.nbytes for value in module.state_dict().values())
    if size > MAX_BYTES:
        raise DarknetError(f"an .onnx file holds up to 2 GB, and the weights have {size / 1e9:.1f} GB: try .pt2")
    names = [f"all_{name}" if options.nms else name for name in module.output_names]
    model = translated(export(module, options), names)
    if options.nms:
        append_nms(model.graph, options, has_labels=module.has_labels)
    onnx.helper.set_model_props(model, note(network, options))
    path.write_bytes(model.SerializeToString())


def run(path: Path, network: Network, inputs: Sequence[Tensor], options: Options) -> list[list[Tensor]]:
    """The outputs of onnxruntime on the CPU for each input (N, ...); with `nms`, the inputs of that operator.

    NMS itself may return a row more or less after the smallest difference in a score near the threshold.
    """
    onnx, runtime = needed("onnx"), needed("onnxruntime")
    names, source = None, str(path)
    if options.nms:
        model = onnx.load(path)
        made = {name for node in model.graph.node for name in node.output}
        names = [name for name in ("all_boxes", "all_scores", "all_probabilities") if name in made]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        source = model.SerializeToString()
    settings = runtime.SessionOptions()
    settings.log_severity_level = 3  # errors
    session = runtime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])
    given = [session.run(names, {"images": one_sequence(network, x).numpy()}) for x in inputs]
    return [comparable(map(torch.from_numpy, outputs), options) for outputs in given]


def check(options: Options) -> None:
    """Raise `DarknetError` for impossible or unused thresholds, and for types that cannot be run."""
    if options.dtype == torch.bfloat16:
        raise DarknetError("onnxruntime does not compute in bfloat16; it does in float16")
    for name in ("thresh", "iou"):
        value = getattr(options, name)
        if not 0 <= value <= 1:
            raise DarknetError(f"{name} is {value}; it must be from 0 to 1")
        if value != getattr(Options, name) and not options.nms:
            raise DarknetError(f"{name} goes with nms, and none was asked for")


def needed(package: str) -> Any:
    """A package of the extra; raises `DarknetError` if it is missing."""
    try:
        return import_module(package)
    except ImportError as error:
        raise DarknetError(f"{package} is not installed: pip install 'darknet-torch[onnx]'") from error


def translated(program: ExportedProgram, output_names: Sequence[str]) -> Any:
    """The onnx.ModelProto of an exported program."""
    keep_divisors(program.graph)
    try:
        with quiet():
            result = torch.onnx.export(program, dynamo=True, output_names=output_names, verbose=False)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().partition("\n")[0]
        raise DarknetError(f"torch.onnx cannot translate this network: {reason}") from error
    model = result.model_proto  # type: ignore[union-attr]
    name_axes(model.graph)
    return model


def keep_divisors(graph: torch.fx.Graph) -> None:
    """Multiply after average pooling with its own divisor, which torch's translation ignores."""
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.avg_pool2d.default and len(node.args) == 7:
            factor = math.prod(node.args[1]) / node.args[6]  # the window's size, and the divisor
            node.args = node.args[:6]
            with graph.inserting_after(node):
                product = graph.call_function(torch.ops.aten.mul.Tensor, (node, factor))
            product.meta = node.meta
            node.replace_all_uses_with(product, lambda user, product=product: user is not product)


def name_axes(graph: Any) -> None:
    """Name the dynamic axes of the input, and those that follow from them, as in `AXES`."""
    dims = graph.input[0].type.tensor_type.shape.dim
    names = {name: AXES[axis] for axis, dim in enumerate(dims) for name in re.findall(r"s\d+", dim.dim_param)}
    for value in chain(graph.input, graph.output, graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_param = re.sub(r"s\d+", lambda match: names.get(match[0], match[0]), dim.dim_param)


def append_nms(graph: Any, options: Options, *, has_labels: bool) -> None:
    """Append ONNX's NonMaxSuppression: class by class and by IoU > `iou`, as in do_nms_sort."""
    scores = SCORES_OF_LABELS if has_labels else SCORES
    text = NMS.format(iou=options.iou, thresh=options.thresh, scores=scores)
    tail = import_module("onnx.parser").parse_graph(text)
    graph.node.extend(tail.node)
    graph.initializer.extend(tail.initializer)
    graph.ClearField("output")
    graph.output.extend(tail.output)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's and onnxscript's notes about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


FORMAT = Format(BY_NAME["onnx"], write, run, expect=expect)
