"""`Layer`, the base of all section types, with its shapes and stored tensors."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

from torch import nn

from darknet_py.cfg.dialect import DARKNET, Augment, Fit
from darknet_py.cfg.keys import flag, key, natural, number
from darknet_py.errors import CfgError, Location
from darknet_py.tree.wordtree import WordTree

Role = Literal["bias", "scale", "mean", "variance", "weight"]


class Shape(NamedTuple):
    """The shape of a layer's output for one picture: channels, height, width.

    Some layers (softmax, rnn, cost, ...) give a row of `c` values instead of a picture; then h and w are 0.
    """

    c: int
    h: int = 0
    w: int = 0

    @property
    def is_image(self) -> bool:
        return self.h > 0

    @property
    def size(self) -> int:
        """The number of values; `outputs` in the C program."""
        return self.c * self.h * self.w if self.is_image else self.c

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of the tensor, after the batch."""
        return tuple(self) if self.is_image else (self.c,)

    def __str__(self) -> str:
        return f"{self.w} x {self.h} x {self.c}" if self.is_image else str(self.c)


class Blob(NamedTuple):
    """A tensor that a .weights file stores: the module's name for it, its shape, and what Darknet calls it."""

    name: str
    shape: tuple[int, ...]
    role: Role
    transposed: bool = False  # an old file (header version above 1000) stores the matrix transposed
    flipped: bool = False  # always stored transposed, as a matrix of filters by the rest

    @property
    def size(self) -> int:
        size = 1
        for n in self.shape:
            size *= n
        return size

    @property
    def learned(self) -> bool:
        """Whether training changes it by gradient; the running mean and variance are measured."""
        return self.role not in ("mean", "variance")

    def within(self, prefix: str) -> Blob:
        return self._replace(name=f"{prefix}.{self.name}")


class Reach(NamedTuple):
    """The window of a layer: `size` pixels at steps of `stride`; `size` None is the whole picture."""

    size: int | None = 1
    stride: float = 1.0


@dataclass(frozen=True)
class Place:
    """Where a layer stands in a network."""

    index: int
    inputs: tuple[Shape, ...]
    shape: Shape

    @property
    def module(self) -> str:
        """Source text of the layer's module, in a method of the network's."""
        return f'self.layers["{self.index}"]'


class Update(NamedTuple):
    """How the C program updates the tensors of a layer."""

    trained: bool = True  # it has an update function at all
    scaled: bool = True  # by the layer's own key learning_rate
    clipped: bool = False  # weights stay within [net] clip
    adam: bool = True  # by Adam where [net] asks for it


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The keys of one section, and what follows from them without a tensor: sources, shapes, sizes, operations."""

    type: ClassVar[str] = ""
    is_head: ClassVar[bool] = False  # gives boxes or masks, so it is an output of the network anywhere in the cfg
    gives_boxes: ClassVar[bool] = False
    has_loss: ClassVar[bool] = False
    passes_input: ClassVar[bool] = False  # its output is its input, so the one before it is the network's output
    resizable: ClassVar[bool] = True  # can be resized with the network
    fixed_part: ClassVar[bool] = False  # gives a part of fixed size of any picture
    recurrent: ClassVar[bool] = False
    draws: ClassVar[bool] = False  # draws random numbers during training
    update: ClassVar[Update] = Update()
    counts: ClassVar[str | None] = None  # the key with the number of outputs that divide each stored tensor equally
    partial_filters: ClassVar[bool] = False  # obeys the key numload
    shows_source: ClassVar[bool] = False  # the summary shows the last of several inputs
    fit: ClassVar[Fit | None] = None  # how a head wants pictures fitted to the input; None for the dialect's way
    augment: ClassVar[Augment | None] = None  # and how it wants them augmented

    where: Location = field(default=Location("<layer>"), compare=False, repr=False)
    truth: bool = key(flag, False, "the output of this layer is the truth for the layers after it")
    onlyforward: bool = key(flag, False, "no loss and no gradient from this layer")
    stopbackward: bool = key(flag, False, "gradients go no further back than this layer")
    dontsave: bool = key(flag, False, "leave this layer out when weights are saved")
    dontload: bool = key(flag, False, "leave this layer out when weights are loaded")
    numload: int = key(natural, 0, "how many filters the weights file has of this layer; 0 is all of them")
    dontloadscales: bool = key(flag, False, "the weights file has no scales, means and variances of this layer")
    learning_rate: float = key(number, 1.0, "factor on the learning rate of this layer")
    smooth: float = key(number, 0.0, "training: [convolutional] pulls outputs together, [cost] softens labels")

    @property
    def skips_loss(self) -> bool:
        """Whether the keys switch its loss off."""
        return False

    @property
    def draws_sizes(self) -> bool:
        """Whether it asks for random input sizes during training."""
        return False

    @property
    def truth_size(self) -> int | None:
        """Values of truth per picture, `truths` of the C program; None for as many as outputs."""
        return None

    def takes_truth(self, given: int, wanted: int) -> bool:
        """Whether it can learn from `given` values of truth per picture if it wants `wanted`."""
        return given == wanted

    @property
    def word_tree(self) -> WordTree | None:
        """The tree that its classes form."""
        return None

    @property
    def label_map(self) -> tuple[int, ...] | None:
        """The layer's class for each class in the labels, if they differ."""
        return None

    def count_classes(self, before: Shape | None) -> int | None:
        """The number of classes, given the shape of the input if it is known."""
        return None

    def require_boxes(self) -> None:
        """Raise `CfgError` if the output cannot be decoded into boxes."""
        if not self.gives_boxes:
            raise self.error("gives no boxes: is this a classifier?")

    def sources(self, index: int) -> tuple[int, ...]:
        """The layers whose outputs this one takes as layer `index`; -1 is the network's input."""
        return (index - 1,)

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        """The shape of the output; raises `CfgError` if the inputs do not fit."""
        raise NotImplementedError

    def build(self, inputs: Sequence[Shape]) -> nn.Module:
        """The module that computes the layer, with uninitialised parameters."""
        raise NotImplementedError

    def blobs(self, inputs: Sequence[Shape]) -> tuple[Blob, ...]:
        """The tensors in a .weights file, in the order of the file."""
        return ()

    def workspace(self, inputs: Sequence[Shape]) -> int:
        """Temporary values for computing one picture's output, if they may be far more than inputs and output."""
        return 0

    def operations(self, inputs: Sequence[Shape]) -> int:
        """Floating point operations for one picture, as Darknet counts them: 2 per multiplication and addition."""
        return 0

    def reach(self) -> Reach:
        """The window of the input that one output value sees."""
        return Reach()

    def label(self, index: int) -> str:
        """The start of the line that Darknet prints at load for this layer, as layer `index`."""
        return self.type

    def earlier(self, n: int, index: int) -> int:
        """The index that layer `index` names by `n`: negative counts back. Raises `CfgError` if there is none."""
        absolute = n if n >= 0 else index + n
        if not 0 <= absolute < index:
            raise self.error(f"layer {n} does not exist; this is layer {index}")
        return absolute

    def resized(self, old: Sequence[Shape], new: Sequence[Shape]) -> Layer:
        """The layer to use instead of this one when the shapes of its inputs change from `old` to `new`."""
        return self

    def module_text(self, place: Place) -> str | None:
        """Source text that makes its module, if it has parameters."""
        return None

    def text(self, place: Place, *xs: str) -> list[str]:
        """Source text that computes it from inputs with these names: statements, and then the expression of the output.

        Raises `CfgError` if it cannot be written as source.
        """
        raise self.error(f"layer {place.index} cannot be written as source code")

    @property
    def meaning(self) -> str:
        """What its output holds, in a sentence or two for people, if it is a head."""
        return ""

    @property
    def box_formulas(self) -> tuple[str, str] | None:
        """What centre and size of a box are as shares of the input, as source text, if it gives boxes."""
        return None

    def error(self, message: str) -> CfgError:
        """A `CfgError` about this section."""
        return CfgError(f"[{self.type}] {message}", self.where)

    def image(self, inputs: Sequence[Shape]) -> Shape:
        """The only input, which must be a picture."""
        (shape,) = inputs
        if not shape.is_image:
            raise self.error(f"needs a picture, but the layer before it gives a row of {shape.size} values")
        return shape


register = DARKNET.register
REGISTRY: MutableMapping[str, type[Layer]] = DARKNET.sections
