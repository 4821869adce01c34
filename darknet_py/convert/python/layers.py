"""What each section type becomes: a module that holds its parameters, and the lines that compute it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from darknet_py.convert.python.heads import Lines, detection, groups_name, iseg, parts_of, region, yolo
from darknet_py.layers.activation import ActivationLayer
from darknet_py.layers.avgpool import AvgPool
from darknet_py.layers.base import Layer
from darknet_py.layers.batchnorm import BatchNorm
from darknet_py.layers.connected import Connected
from darknet_py.layers.convolutional import Convolutional
from darknet_py.layers.cost import Cost
from darknet_py.layers.crop import Crop
from darknet_py.layers.deconvolutional import Deconvolutional
from darknet_py.layers.detection import Detection
from darknet_py.layers.dropout import Dropout
from darknet_py.layers.iseg import Iseg
from darknet_py.layers.l2norm import L2Norm
from darknet_py.layers.local import Local
from darknet_py.layers.logistic import Logistic
from darknet_py.layers.maxpool import WIDE, MaxPool, MaxPoolModule
from darknet_py.layers.normalization import Normalization
from darknet_py.layers.parts.activations import activated
from darknet_py.layers.region import Region
from darknet_py.layers.reorg import Reorg
from darknet_py.layers.route import Route
from darknet_py.layers.shortcut import Shortcut
from darknet_py.layers.softmax import Softmax
from darknet_py.layers.upsample import Upsample
from darknet_py.layers.yolo import Yolo
from darknet_py.network.graph import Node


def call(function: str, *arguments: object, **options: object) -> str:
    """The text of a call."""
    return f"{function}({', '.join([*map(str, arguments), *(f'{name}={value}' for name, value in options.items())])})"


def block(node: Node) -> str:
    """The module of a layer, inside the forward method."""
    return f'self.layers["{node.index}"]'


def flat(node: Node, x: str) -> str:
    """The first input as a row."""
    return f"{x}.flatten(1)" if node.inputs[0].is_image else x


def other_than(default: float, **options: float) -> dict[str, float]:
    """The options that have another value than the default."""
    return {name: value for name, value in options.items() if value != default}


def conv_module(node: Node, layer: Convolutional | Deconvolutional) -> str:
    """A convolution, or a transposed one, with its normalization."""
    name = "conv" if isinstance(layer, Convolutional) else "deconv"
    options = other_than(1, stride=layer.stride)
    options |= other_than(0, padding=layer.total_padding)
    if isinstance(layer, Convolutional):
        options |= other_than(1, groups=layer.groups)
    name += "_bn" if layer.batch_normalize else ""
    return call(name, node.inputs[0].c, layer.filters, layer.size, **options)


def connected_module(node: Node, layer: Connected) -> str:
    """A matrix with its normalization."""
    return call("linear_bn" if layer.batch_normalize else "linear", node.inputs[0].size, layer.output)


def local_module(node: Node, layer: Local) -> str:
    """The kernels of all places."""
    return call("local_weights", *node.shape, node.inputs[0].c * layer.size**2)


def batchnorm_module(node: Node, _layer: BatchNorm) -> str:
    """Normalization with Darknet's constants."""
    return call("nn.BatchNorm2d", node.shape.c, eps="1e-5", momentum="0.01")


def convolutional(node: Node, layer: Convolutional, x: str) -> Lines:
    """Lines of a [convolutional]."""
    x = call("signs", x) if layer.xnor else x
    binary = layer.binary or layer.xnor
    return [activated(layer.activation, call("binary", block(node), x) if binary else call(block(node), x))]


def deconvolutional(node: Node, layer: Deconvolutional, x: str) -> Lines:
    """Lines of a [deconvolutional]."""
    return [activated(layer.activation, call(block(node), x))]


def connected(node: Node, layer: Connected, x: str) -> Lines:
    """Lines of a [connected]; its output is a picture of one pixel."""
    return [activated(layer.activation, call(block(node), flat(node, x))) + "[:, :, None, None]"]


def local(node: Node, layer: Local, x: str) -> Lines:
    """Lines of a [local]."""
    return [activated(layer.activation, call("local", block(node), x, layer.size, layer.stride, layer.pad))]


def maxpool(node: Node, layer: MaxPool, x: str) -> Lines:
    """Lines of a [maxpool]."""
    pool = MaxPoolModule(layer, node.inputs[0])  # knows what torch can pad itself
    if layer.window > WIDE:
        padded = call("F.pad", x, pool.sides, value="torch.finfo(x.dtype).min")
        return [call("F.max_pool2d", padded, pool.kernel, pool.stride)]
    if not pool.pads_itself:
        return [call("max_pool", x, pool.size, pool.stride, pool.before, pool.after)]
    options = {"ceil_mode": True} if pool.ceil_mode else {}
    return [call("F.max_pool2d", x, pool.size, pool.stride, *([pool.before] if pool.before else []), **options)]


def reorg(node: Node, layer: Reorg, x: str) -> Lines:
    """Lines of a [reorg]."""
    if layer.extra:
        return [f"F.pad({flat(node, x)}, (0, {layer.extra}))"]
    if node.inputs[0].c % layer.stride**2 and not layer.flatten:
        return [call("reorg_uneven", x, layer.stride, layer.reverse)]
    name = "reorg" + "_flatten" * layer.flatten + "_reverse" * layer.reverse
    return [call(name, x, layer.stride)]


def upsample(_node: Node, layer: Upsample, x: str) -> Lines:
    """Lines of an [upsample]."""
    if layer.stride > 0:
        text = call("F.interpolate", x, scale_factor=float(layer.stride))
    else:
        text = call("F.avg_pool2d", x, -layer.stride, divisor_override=1)
    return [text if layer.scale == 1 else f"{layer.scale} * {text}"]


def route(_node: Node, _layer: Route, *xs: str) -> Lines:
    """Lines of a [route]."""
    if len(xs) == 1:
        return [xs[0]]
    joined = ", ".join(xs)
    if len(joined) < 48:
        return [f"torch.cat(({joined}), 1)"]
    return [*parts_of(xs), "torch.cat(parts, 1)"]


def shortcut(node: Node, layer: Shortcut, x: str, other: str) -> Lines:
    """Lines of a [shortcut]."""
    mine, its = node.inputs
    if mine == its:
        factors = ((x, layer.alpha), (other, layer.beta))
        text = " + ".join(name if factor == 1 else f"{factor} * {name}" for name, factor in factors)
        return [activated(layer.activation, text)]
    function = "add_channels" if mine[1:] == its[1:] else "add_sizes"
    text = call(function, x, other, **other_than(1, alpha=layer.alpha, beta=layer.beta))
    return [text] if layer.activation == "linear" else [f"mixed = {text}", activated(layer.activation, "mixed")]


def crop(node: Node, layer: Crop, x: str) -> Lines:
    """Lines of a [crop]: the middle."""
    height, width = layer.crop_height, layer.crop_width
    top, left = (node.inputs[0].h - height) // 2, (node.inputs[0].w - width) // 2
    text = f"{x}[:, :, {top}:{top + height}, {left}:{left + width}]"
    return [text if layer.noadjust else f"{text} * 2 - 1"]


def softmax(node: Node, layer: Softmax, x: str) -> Lines:
    """Lines of a [softmax]."""
    if layer.spatial and layer.tree is None:
        return [f"{x}.softmax(1).flatten(1)"]
    row = flat(node, x)
    scaled = row if layer.temperature == 1 else f"{row} / {layer.temperature}"
    if layer.tree is not None:
        return [call("tree_softmax", scaled, groups_name(node), 1)]
    row = row if layer.temperature == 1 else f"({scaled})"
    if layer.groups == 1:
        return [f"{row}.softmax(1)"]
    return [f"{row}.unflatten(1, ({layer.groups}, -1)).softmax(2).flatten(1)"]


def normalization(_node: Node, layer: Normalization, x: str) -> Lines:
    """Lines of a [normalization]."""
    return [call("normalize_channels", x, layer.size, layer.alpha, layer.beta, layer.kappa)]


MODULES: Final[dict[type[Layer], Callable[[Node, Any], str]]] = {
    BatchNorm: batchnorm_module,
    Connected: connected_module,
    Convolutional: conv_module,
    Deconvolutional: conv_module,
    Local: local_module,
}
LINES: Final[dict[type[Layer], Callable[..., Lines]]] = {
    ActivationLayer: lambda _node, layer, x: [activated(layer.activation, x)],
    AvgPool: lambda _node, _layer, x: [f"F.adaptive_avg_pool2d({x}, 1)"],
    BatchNorm: lambda node, _layer, x: [call(block(node), x)],
    Connected: connected,
    Convolutional: convolutional,
    Cost: lambda node, _layer, x: [flat(node, x)],
    Crop: crop,
    Deconvolutional: deconvolutional,
    Detection: detection,
    Dropout: lambda _node, layer, x: [f"F.dropout({x}, {layer.probability}, self.training)"],
    Iseg: iseg,
    L2Norm: lambda _node, _layer, x: [f"{x} / {x}.square().sum(1, keepdim=True).sqrt()"],
    Local: local,
    Logistic: lambda _node, _layer, x: [f"torch.sigmoid({x})"],
    MaxPool: maxpool,
    Normalization: normalization,
    Region: region,
    Reorg: reorg,
    Route: route,
    Shortcut: shortcut,
    Softmax: softmax,
    Upsample: upsample,
    Yolo: yolo,
}
