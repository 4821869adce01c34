"""The table that Darknet prints when it loads a cfg, with totals."""

from __future__ import annotations

from typing import Any

from darknet_py.layers.base import Shape
from darknet_py.network.graph import Graph, Node

HEADER = "layer     filters    size              input                output"


def table(graph: Graph) -> str:
    """A line a layer as Darknet prints it, and totals below."""
    totals = as_dict(graph)["total"]
    live, stored = (4 * totals[key] / 2**20 for key in ("live_values", "stored_values"))
    total = (
        f"Total BFLOPs {totals['bflops']:.3f}, parameters {totals['parameters']:,}, "
        f"weights {stored:.1f} MiB, activations of one input {live:.1f} MiB in float32"
    )
    return "\n".join(
        (
            HEADER,
            *(_line(node) for node in graph.nodes),
            total,
        )
    )


def as_dict(graph: Graph) -> dict[str, Any]:
    """The same as plain values; shapes are [channels, height, width], or [values] where there is no picture."""
    return {
        "source": graph.source,
        "dialect": graph.dialect.name,
        "input": list(graph.input_shape.dims),
        "outputs": list(graph.outputs),
        "layers": [_layer(node) for node in graph.nodes],
        "total": {
            "parameters": sum(node.parameters for node in graph.nodes),
            "stored_values": sum(blob.size for node in graph.nodes for blob in node.blobs),
            "live_values": graph.largest_live_set,
            "bflops": sum(node.operations for node in graph.nodes) / 1e9,
        },
    }


def _layer(node: Node) -> dict[str, Any]:
    return {
        "index": node.index,
        "type": node.layer.type,
        "line": node.layer.where.line,
        "sources": list(node.sources),
        "inputs": [list(shape.dims) for shape in node.inputs],
        "output": list(node.shape.dims),
        "parameters": node.parameters,
        "bflops": node.operations / 1e9,
        "receptive_field": node.receptive_field,
    }


def _line(node: Node) -> str:
    label = f"{node.index:5d} {node.layer.label(node.index)}"
    source = _shape(node.inputs[-1]) if len(node.inputs) == 1 or node.layer.shows_source else " " * 16
    bflops = f"  {node.operations / 1e9:5.3f} BFLOPs" if node.operations else ""
    return f"{label:<28}  {source}   ->  {_shape(node.shape)}{bflops}"


def _shape(shape: Shape) -> str:
    return f"{shape.w:4d} x{shape.h:4d} x{shape.c:4d}" if shape.is_image else f"{shape.c:16d}"
