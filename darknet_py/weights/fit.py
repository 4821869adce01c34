"""Whether a file of values fits a network, and where not, what it may be: other classes, another beginning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from darknet_py.errors import WeightsError
from darknet_py.layers.heads import GridHead
from darknet_py.network.graph import Graph
from darknet_py.weights.slots import NONE, VALUE_SIZE, Slot, layout, outputs_of

WAYS = "take the cfg it is from, or what fits with --transfer (partial='matching') or from `darknet-py partial`"
MOST = 3  # layers that a message names
MOST_OUTPUTS = 1 << 16  # filters of a last layer; a file that would need more is another network's


def check_size(slots: Sequence[Slot], data_size: int, graph: Graph, *, ended: bool = False, named: int = 0) -> None:
    """Raise `WeightsError` where so many bytes after the header are not what the slots need.

    The message says the layer the file ends in, what was wanted and had, and what would fit. With `ended` a longer
    file is fine: a cutoff reads its beginning. `named` is the number of layers that the file's name says it has.
    """
    values, rest = divmod(data_size, VALUE_SIZE)
    wanted = slots[-1].end if slots else 0
    if (values == wanted and not rest) or (values >= wanted and ended):
        return
    if named:
        raise WeightsError(_other_beginning(graph, values, wanted, named))
    if values >= wanted:
        end = f"{slots[-1].node}" if slots else "the header"
        more = f"{values - wanted} values" if values > wanted else f"{rest} bytes"
        where = f"it has {more} more after {end}"
    else:
        slot = next(slot for slot in slots if slot.end > values)
        had = f"{slot.size} values wanted there and {values - slot.start} had"
        where = f"it ends in {slot.node}, {slot.blob.role}: {had}"
    totals = f"{values} values in all, and {graph.source} wants {wanted}"
    raise WeightsError(f"{where}; {totals}; {_suggestion(slots, values, rest, graph)}")


def matching(graph: Graph, slots: Sequence[Slot], data_size: int) -> tuple[tuple[Slot, ...], tuple[str, ...]]:
    """Of a file that may have other classes: where the tensors are that fit, and what is left out.

    Raises `WeightsError` where no number of classes or outputs makes the file fit.
    """
    values, rest = divmod(data_size, VALUE_SIZE)
    if rest or not slots or values == slots[-1].end:
        check_size(slots, data_size, graph)
        return tuple(slots), ()
    outputs = other_outputs(graph, slots, values)
    if outputs:
        held = layout(graph, outputs=outputs)
        left = [f"{graph.nodes[i]} ({n} filters there, {outputs_of(graph.nodes[i])} here)" for i, n in outputs.items()]
        return tuple(slot for slot in held if slot.node.index not in outputs), tuple(left)
    if _layers_held(slots, values):
        missing = dict.fromkeys(f"{slot.node} (not in the file)" for slot in slots if slot.end > values)
        return tuple(slot for slot in slots if slot.end <= values), tuple(missing)
    check_size(slots, data_size, graph)
    raise AssertionError("a size that fits was told above")


def other_outputs(graph: Graph, slots: Sequence[Slot], values: int) -> dict[int, int]:
    """Layers whose filters or outputs depend on the classes, with the number that makes so many values fit.

    One number of classes for all heads, or another number of filters of the last layer; empty where there is neither.
    """
    feeds = class_layers(graph)
    sizes = {i: sum(slot.size for slot in slots if slot.node.index == i) // outputs_of(graph.nodes[i]) for i in feeds}
    if feeds and all(sizes.values()):
        fixed = slots[-1].end - sum(size * outputs_of(graph.nodes[i]) for i, size in sizes.items())
        fixed += sum(size * len(feeds[i].own_anchors) * feeds[i].leading for i, size in sizes.items())
        each = sum(size * len(feeds[i].own_anchors) for i, size in sizes.items())
        classes, left = divmod(values - fixed, each)
        if 0 < classes < MOST_OUTPUTS and not left:
            return {i: len(head.own_anchors) * (head.leading + classes) for i, head in feeds.items()}
    count = _outputs_of_last(slots, values)
    return {slots[-1].node.index: count} if count and len(feeds) < 2 else {}


def class_layers(graph: Graph) -> dict[int, GridHead]:
    """The convolutions that feed heads, each with its head; empty where a head is fed by something else."""
    heads = [(node.sources[0], node.layer) for node in graph.heads if isinstance(node.layer, GridHead)]
    fed = {index: layer for index, layer in heads if index >= 0 and graph.nodes[index].layer.counts is not None}
    return fed if len(fed) == len(graph.heads) else {}


def described(graph: Graph, outputs: Mapping[int, int]) -> str:
    """Such numbers of filters or outputs in words, with the number of classes that they are for."""
    feeds = class_layers(graph)
    found = {
        count / len(feeds[i].own_anchors) - feeds[i].leading if i in feeds else 0.0 for i, count in outputs.items()
    }
    classes = found.pop() if len(found) == 1 else 0.0
    of = f" (classes={classes:.0f})" if classes >= 1 and classes.is_integer() else ""
    named = (f"{graph.nodes[i].layer.counts}={count} in {graph.nodes[i]}" for i, count in outputs.items())
    return " and ".join(named) + of


def left_out(graph: Graph, left: Sequence[str]) -> str:
    """A line on the layers that a transfer left out."""
    stored = sum(bool(node.blobs) for node in graph.nodes)
    names = ", ".join(left[:MOST]) + (f" and {len(left) - MOST} more" if len(left) > MOST else "")
    return f"took {stored - len(left)} of {stored} layers; left out: {names}"


def _suggestion(slots: Sequence[Slot], values: int, rest: int, graph: Graph) -> str:
    if rest:
        return "it has no whole number of values: a download that was cut short?"
    if layers := _layers_held(slots, values):
        return f"it holds the first {layers} layers exactly: cutoff={layers} or partial loading takes them"
    outputs = other_outputs(graph, slots, values) if slots else NONE
    return f"it would fit with {described(graph, outputs)}; {WAYS}" if outputs else "is this the file for this cfg?"


def _other_beginning(graph: Graph, values: int, wanted: int, named: int) -> str:
    held = _layers_held(layout(graph), values)
    hint = f"it holds the first {held} layers, and its name should say so" if held else "--partial takes what there is"
    count = min(named, len(graph.nodes))
    cut = "" if values > wanted else ", or cut short"
    return (
        f"its name says that it holds the first {named} layers, but it has {values} values, and the first {count} of "
        f"{graph.source} have {wanted}: the beginning of another network{cut}; {hint}"
    )


def _layers_held(slots: Sequence[Slot], values: int) -> int:
    """How many layers so many values are exactly; 0 where they end inside one."""
    ends = {slot.node.index + 1: slot.end for slot in slots}  # of a layer's tensors the last one stays
    return next((layers for layers, end in ends.items() if end == values), 0)


def _outputs_of_last(slots: Sequence[Slot], values: int) -> int | None:
    """How many filters or outputs the last layer would have to have for the file to fit."""
    if not slots or slots[-1].node.layer.counts is None:
        return None
    mine = [slot for slot in slots if slot.node is slots[-1].node]
    each = sum(slot.size for slot in mine) // outputs_of(slots[-1].node)
    if not each:
        return None
    count, left = divmod(values - mine[0].start, each)
    return count if 0 < count < MOST_OUTPUTS and not left else None
