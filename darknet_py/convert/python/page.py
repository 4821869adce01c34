"""The text of a generated file."""

from __future__ import annotations

import builtins
import keyword
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from darknet_py.convert.python.helpers import definitions
from darknet_py.layers.base import Place, Shape
from darknet_py.layers.parts.text import Lines
from darknet_py.layers.parts.trees import groups_name
from darknet_py.network.graph import INPUT, Graph, Node

WIDTH: Final = 88  # of a line; formatters keep shorter lines
SHORT: Final = {"convolutional": "conv", "deconvolutional": "deconv", "maxpool": "pool", "avgpool": "mean"}
IMPORTS: Final = {  # the imports of a file whose code has the word
    "OrderedDict": "from collections import OrderedDict\n\n",
    "Sequence": "from collections.abc import Sequence\n\n",
    "torch.": "import torch\n",
    "F.": "import torch.nn.functional as F\n",
}


def generate(graph: Graph) -> str:
    """The text of a file with a module that computes a graph; it needs only torch.

    The module has the state dict of `Network`. Raises `CfgError` for a layer that has no source text.
    """
    init, forward = list(_init(graph)), list(_forward(graph))
    body = [*_heading(graph), *init, *forward]
    helpers = definitions("\n".join(init), "\n".join(forward))
    parts = [*helpers, *_groups(graph), "\n".join([*body, ""])]
    code = "\n\n".join(parts)
    return f'"""{_head(graph)}\n"""\n\n{_imports(code)}\n\n{code}'


def class_name(graph: Graph) -> str:
    """The name of the class: that of the cfg file, in words."""
    words = re.findall(r"[A-Za-z0-9]+", PurePath(graph.source).stem)
    name = "".join(word[:1].upper() + word[1:] for word in words)
    taken = keyword.iskeyword(name) or hasattr(builtins, name) or name in ("F", "OrderedDict", "Sequence", "Tensor")
    return f"Net{name}" if taken or not name[:1].isalpha() else name


def _head(graph: Graph) -> str:
    """The docstring at the top."""
    source = re.sub(r"[^\w.+-]", "_", PurePath(graph.source).name, flags=re.ASCII)
    weights = f"{PurePath(source).stem}.pt"
    paragraphs = [f"The network of {source} in plain PyTorch.", _input(graph)]
    paragraphs += [_output(node) for node in graph.heads]
    filled = [textwrap.fill(text, WIDTH, break_on_hyphens=False) for text in paragraphs]
    formulas = dict.fromkeys(filter(None, map(_boxes, graph.heads)))
    usage = (
        f"The weights are those of the .pt file that `darknet-py convert` writes:\n\n"
        f"    model = {class_name(graph)}().eval()\n"
        f'    weights = torch.load("{weights}", weights_only=True)\n'
        f"    model.load_state_dict(weights)"
    )
    comments = "Comments say the layer of the cfg and the shape of its output."
    return "\n\n".join([*filled, *formulas, usage, comments])


def _input(graph: Graph) -> str:
    text = f"Input: {_shape(graph.input_shape)}"
    if graph.input_shape.is_image:
        text += ", pictures with values from 0 to 1"
    if graph.resizable and not any(node.layer.fixed_part for node in graph.nodes):
        text += f"; width and height can be other multiples of {graph.stride}"
    return f"{text}."


def _output(node: Node) -> str:
    return f"Output: {_shape(node.shape)}, of layer {node.index} [{node.layer.type}]. {node.layer.meaning}".rstrip()


def _boxes(node: Node) -> str:
    """How values become a box, or nothing."""
    if node.layer.box_formulas is None:
        return ""
    centre, size = node.layer.box_formulas
    return f"Boxes, as shares of the input:\n\n    centre = {centre}\n    size = {size}"


def _imports(code: str) -> str:
    found = "".join(line for word, line in IMPORTS.items() if re.search(rf"(?<![.\w]){re.escape(word)}", code))
    found = found.replace("OrderedDict\n\nfrom", "OrderedDict\nfrom")
    names = ", ".join(name for name in ("Tensor", "nn") if re.search(rf"(?<![.\w]){name}\b", code))
    return f"{found}from torch import {names}\n"


def _groups(graph: Graph) -> Iterator[str]:
    """The sizes of the groups of every tree."""
    for node in graph.nodes:
        tree = node.layer.word_tree
        if tree is not None:
            sizes = ", ".join(map(str, tree.group_sizes)) + ","
            numbers = textwrap.indent(textwrap.fill(sizes, WIDTH - 4), "    ")
            comment = f"# Classes in each group of siblings of the tree of layer {node.index}."
            yield f"{comment}\n{groups_name(_place(node))} = (\n{numbers}\n)  # fmt: skip\n"


def _heading(graph: Graph) -> Iterator[str]:
    """The first lines of the class."""
    several = len(graph.heads) > 1
    output = f"a tuple of {len(graph.heads)} outputs" if several else _shape(graph.heads[0].shape)
    yield f"class {class_name(graph)}(nn.Module):"
    yield f'    """{_shape(graph.input_shape)} -> {output}."""'


def _init(graph: Graph) -> Iterator[str]:
    """The method that makes the modules, where there are any."""
    made = {node.index: node.layer.module_text(_place(node)) for node in graph.nodes}
    if not any(made.values()):
        return
    yield ""
    yield "    def __init__(self) -> None:"
    yield "        super().__init__()"
    yield "        self.layers = nn.ModuleDict("
    yield "            {"
    yield from (f'                "{index}": {text},' for index, text in made.items() if text)
    yield "            }"
    yield "        )"


def _forward(graph: Graph) -> Iterator[str]:
    """The method that computes the outputs, after an empty line."""
    names = _names(graph)
    returned = [names[index] for index in graph.outputs]
    kind = "Tensor" if len(returned) == 1 else "tuple[Tensor, ...]"
    yield ""
    yield f"    def forward(self, x: Tensor) -> {kind}:"
    for index in sorted(graph.needed(graph.outputs)):
        node = graph.nodes[index]
        lines = node.layer.text(_place(node), *(names[source] for source in node.sources))
        yield from (f"        {line}" for line in _assigned(names[index], lines, f"# {index}: {_shape(node.shape)}"))
    yield f"        return {', '.join(returned)}"


def _assigned(name: str, lines: Lines, comment: str) -> Lines:
    """The lines with their result in a variable, and a comment behind it, or above it if the line gets too long."""
    result = f"{name} = {lines[-1]}"
    if len(f"        {result}  {comment}") > WIDTH:
        return [comment, *lines[:-1], result]
    return [*lines[:-1], f"{result}  {comment}"]


def _names(graph: Graph) -> dict[int, str]:
    """The variable of every output: x, or its own name if anything but the next line needs it."""
    needed = sorted(graph.needed(graph.outputs))
    uses = Counter(source for index in needed for source in set(graph.nodes[index].sources))
    named = set(graph.outputs) if len(graph.outputs) > 1 else set()
    names = {INPUT: "x"}
    for index, after in zip(needed, [*needed[1:], None], strict=True):
        passed_on = uses[index] <= 1 and (after is None or index in graph.nodes[after].sources)
        kind = graph.nodes[index].layer.type
        names[index] = "x" if passed_on and index not in named else f"{SHORT.get(kind, kind)}{index}"
    return names


def _place(node: Node) -> Place:
    return Place(node.index, node.inputs, node.shape)


def _shape(shape: Shape) -> str:
    return f"(N, {', '.join(map(str, shape.dims))})"
