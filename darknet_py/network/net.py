"""``[net]``: the first section, with the input, the batch and everything about training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from darknet_py.cfg.dialect import DARKNET, Fit
from darknet_py.cfg.keys import flag, integer, key, list_of, natural, number, one_of, positive
from darknet_py.errors import CfgError, Location
from darknet_py.layers.base import Shape

NAMES = ("net", "network")
POLICIES = ("constant", "step", "steps", "exp", "poly", "sigmoid", "random")
MAX_SIDE = 1 << 15
MAX_CHANNELS = 1 << 16


@DARKNET.register(*NAMES, first=True)
@dataclass(frozen=True, kw_only=True)
class Net:
    """The keys of ``[net]``."""

    type: ClassVar[str] = ""
    where: Location = field(default=Location("<net>"), compare=False, repr=False)
    batch: int = key(positive, 1, "pictures an update of the weights")
    subdivisions: int = key(positive, 1, "the batch goes through the network in so many parts")
    time_steps: int = key(positive, 1, "steps of a recurrent network")
    height: int = key(natural, 0, "height of the input")
    width: int = key(natural, 0, "width of the input")
    channels: int = key(natural, 0, "channels of the input")
    inputs: int | None = key(natural, None, "length of an input row, where the input is no picture")
    learning_rate: float = key(number, 0.001, "rate of an update")
    momentum: float = key(number, 0.9, "share of the last update that stays")
    decay: float = key(number, 0.0001, "weight decay")
    policy: str = key(one_of(POLICIES, fallback="constant"), "constant", "how the rate changes")
    burn_in: int = key(natural, 0, "batches over which the rate rises to its value")
    power: float = key(number, 4.0, "power of poly and of burn_in")
    step: int = key(integer, 1, "batches a step of policy step, or the middle of sigmoid")
    scale: float = key(number, 1.0, "factor of policy step")
    steps: tuple[int, ...] = key(list_of(integer), (), "batches at which policy steps changes the rate")
    scales: tuple[float, ...] = key(list_of(number), (), "factors of policy steps")
    gamma: float = key(number, 1.0, "base of exp, slope of sigmoid")
    max_batches: int = key(natural, 0, "updates in all")
    adam: bool = key(flag, False, "Adam instead of momentum")
    beta1: float = key(number, 0.9, "first moment of Adam", name="B1")
    beta2: float = key(number, 0.999, "second moment of Adam", name="B2")
    eps: float = key(number, 1e-7, "what Adam adds to the root")
    clip: float = key(number, 0.0, "limit of gradients; 0 is none")
    notruth: bool = key(flag, False, "read by Darknet, without effect")
    random: int = key(integer, 0, "not 0: another input size every 10 batches while training")
    angle: float = key(number, 0.0, "augmentation of classifiers: rotation in degrees")
    aspect: float = key(number, 1.0, "augmentation of classifiers: aspect ratio")
    saturation: float = key(number, 1.0, "augmentation: saturation")
    exposure: float = key(number, 1.0, "augmentation: exposure")
    hue: float = key(number, 0.0, "augmentation: hue")
    center: bool = key(flag, False, "classifiers: crop the middle, not anywhere")
    max_crop: int | None = key(natural, None, "classifiers: longest shorter side; Darknet takes 2 * width")
    min_crop: int | None = key(natural, None, "classifiers: shortest shorter side; Darknet takes the width")
    max_ratio: float | None = key(number, None, "max_crop in widths")
    min_ratio: float | None = key(number, None, "min_crop in widths")

    @property
    def input_shape(self) -> Shape:
        """One input: a picture where width, height and channels are given, else a row of `inputs` values."""
        if self.width and self.height and self.channels:
            return Shape(self.channels, self.height, self.width)
        return Shape(self.inputs or 0)

    @property
    def fit(self) -> Fit | None:
        """How pictures are brought to the input's size, where a key of ``[net]`` says so; none of Darknet's does."""
        return None

    @property
    def network_batch(self) -> int:
        """What goes through the network at once: batch / subdivisions * time_steps."""
        return self.batch // self.subdivisions * self.time_steps

    def resized(self, width: int, height: int) -> Net:
        """The same for another input size."""
        net = replace(self, width=width, height=height)
        net.check()
        return net

    def check(self) -> None:
        """Raise `CfgError` for an input that cannot be."""
        if self.input_shape.size == 0 or min(self.width, self.height) < 0:
            raise CfgError("[net] needs width, height and channels, or inputs", self.where)
        if max(self.width, self.height) > MAX_SIDE or self.channels > MAX_CHANNELS:
            size = f"{self.width} x {self.height} x {self.channels}"
            raise CfgError(f"[net] an input of {size} is beyond {MAX_SIDE} x {MAX_SIDE} x {MAX_CHANNELS}", self.where)
        if self.policy == "steps" and not (self.steps and self.scales):
            raise CfgError("[net] policy=steps needs steps and scales", self.where)
