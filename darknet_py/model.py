"""`load`: a cfg and a weights file to something that takes pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import TypeAlias, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from darknet_py import weights as weights_file
from darknet_py.boxes.suppress import Nms
from darknet_py.cfg import DataFile, read_data, read_names
from darknet_py.devices import after_fork, pick_device
from darknet_py.download import MODELS
from darknet_py.engine import Engine
from darknet_py.engine.backend import Half
from darknet_py.errors import DarknetError, DarknetWarning, ImageError
from darknet_py.files import legible
from darknet_py.kernels import native
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network
from darknet_py.network.naming import check_names
from darknet_py.pictures.files import ImageLike
from darknet_py.pictures.video import VideoReader
from darknet_py.predict import frames
from darknet_py.predict.ahead import usual_batch
from darknet_py.predict.classifier import Classifier
from darknet_py.predict.decode import DECODERS, Settings
from darknet_py.predict.detections import Classification, Detections
from darknet_py.predict.detector import Detector, class_name
from darknet_py.predict.stream import each_picture
from darknet_py.shipped import is_name

T = TypeVar("T")
Images: TypeAlias = "list[ImageLike] | tuple[ImageLike, ...]"
Names: TypeAlias = "str | Path | Sequence[str]"


class Model:
    """A network in eval mode with the names of its classes; `network` is the torch module.

    What it says is computed by `engine`, which follows the network: one of `darknet_py.engine.ENGINES`, or None for
    the fastest one that there is, with `half` in 16 bits where that is faster; a type instead of True says which 16
    bits, where the device has two kinds. Raises `DarknetError` for an engine that this machine or the network's device
    lacks.
    """

    def __init__(
        self,
        network: Network,
        names: Sequence[str] = (),
        engine: str | None = None,
        *,
        half: Half = False,
    ) -> None:
        self.network = network.eval()
        self.names = tuple(names)
        self.engine = Engine(network, engine, half=half)

    @property
    def detects(self) -> bool:
        """Whether it finds boxes; otherwise it is a classifier."""
        return all(node.layer in DECODERS for node in self.network.graph.heads)

    @property
    def detector(self) -> Detector:
        """The network as a detector; raises `DarknetError` where it is none."""
        if not self.detects:
            raise DarknetError(f"{self.network.graph.source} has no layer that gives boxes: is this a classifier?")
        return Detector(self.network, self.names, engine=self.engine)

    @property
    def classifier(self) -> Classifier:
        """The network as a classifier; raises `DarknetError` where it is none."""
        head = next((node for node in self.network.graph.heads if node.layer.is_head), None)
        if head is not None:
            raise DarknetError(f"{self.network.graph.source} ends in {head}, so it is no classifier")
        return Classifier(self.network, self.names, engine=self.engine)

    @overload
    def detect(
        self,
        images: Images,
        *,
        thresh: float = ...,
        hier: float = ...,
        nms: float | Nms | None = ...,
        classes: Sequence[int] | None = ...,
        batch: int | None = ...,
    ) -> list[Detections]: ...
    @overload
    def detect(
        self,
        images: ImageLike,
        *,
        thresh: float = ...,
        hier: float = ...,
        nms: float | Nms | None = ...,
        classes: Sequence[int] | None = ...,
        batch: int | None = ...,
    ) -> Detections: ...
    def detect(
        self,
        images: ImageLike | Images,
        *,
        thresh: float = 0.5,
        hier: float = 0.5,
        nms: float | Nms | None = None,
        classes: Sequence[int] | None = None,
        batch: int | None = None,
    ) -> Detections | list[Detections]:
        """Find boxes in a picture, or in each of a list of pictures.

        A picture is a path, a PIL image, an array (H, W, C) or a tensor (C, H, W); arrays are RGB, with values of
        uint8 or from 0 to 1. A tensor (N, C, H, W) or an array (N, H, W, C) counts as a list. Lists go through the
        network `batch` at a time.

        `thresh` is the least score, `hier` how sure a tree has to be to go into a finer class, `nms` the overlap
        above which the lower of two boxes of a class goes (0 keeps all), or an `Nms` of another kind; None is what the
        program of the cfg's dialect does, for Darknet 0.45. `classes` are the classes of a tree that count, as a .map
        file lists them; labels are then places in that list. Raises `ImageError` for a picture that cannot be used.
        """
        detector = self.detector
        if classes is not None:
            detector = self._narrowed(detector, classes)
        settings = Settings(thresh, hier, None if classes is None else tuple(classes))
        chosen = detector.suppression(nms)
        return self._each(images, lambda chunk: detector.detect(chunk, settings, chosen), batch)

    @overload
    def classify(self, images: Images, *, top: int = ..., batch: int | None = ...) -> list[Classification]: ...
    @overload
    def classify(self, images: ImageLike, *, top: int = ..., batch: int | None = ...) -> Classification: ...
    def classify(
        self, images: ImageLike | Images, *, top: int = 5, batch: int | None = None
    ) -> Classification | list[Classification]:
        """Give the `top` most probable classes of a picture, or of each of a list; pictures as in `detect`."""
        classifier = self.classifier
        return self._each(images, lambda chunk: classifier.classify(chunk, top), batch)

    def detect_video(
        self,
        path: str | Path,
        *,
        thresh: float = 0.5,
        hier: float = 0.5,
        nms: float | Nms = frames.NMS,
        average: int = frames.AVERAGE,
        batch: int | None = None,
    ) -> Iterator[frames.Seen]:
        """Find boxes in every frame of a video file, as the C program's demo does; needs the extra `video`.

        Frames come with their pixels and times, in their order. The outputs for the last `average` frames are averaged;
        surer boxes suppress others whatever their classes. The other arguments are as in `detect`.
        """
        with VideoReader(path) as video:
            settings, how, count = Settings(thresh, hier), Nms.of(nms, "objectness"), batch or self.batch
            yield from frames.detect_frames(self.detector, video, settings, how, average=average, batch=count)

    @property
    def batch(self) -> int:
        """How many pictures go through the network together where nothing else is said."""
        return usual_batch(self.network.device)

    def _narrowed(self, detector: Detector, classes: Sequence[int]) -> Detector:
        """The detector for these classes of its tree; names are theirs, unless there is one for each of them."""
        if detector.walk is None:
            raise DarknetError(f"{self.network.graph.source} has no tree, so `classes` has no meaning for it")
        if len(self.names) == len(classes):
            return detector
        return replace(detector, names=tuple(class_name(self.names, label) for label in classes))

    def _each(
        self, images: ImageLike | Images, run: Callable[[list[Tensor]], list[T]], batch: int | None
    ) -> T | list[T]:
        if batch is not None and batch < 1:
            raise DarknetError(f"batch is {batch}; it must be 1 or more")
        several = isinstance(images, (list, tuple)) or (isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4)
        listed: Iterable[ImageLike] = images if several else [images]  # type: ignore[assignment, list-item]
        results: list[T] = []
        for picture in each_picture(listed, self.engine, run, batch or self.batch, eager=several):
            if isinstance(picture.found, ImageError):
                raise picture.found
            results.append(picture.found)
        return results if several else results[0]


def load(
    cfg: str | Path,
    weights: str | Path | None = None,
    *,
    names: Names | None = None,
    data: str | Path | DataFile | None = None,
    device: str | torch.device | None = None,
    size: int | tuple[int, int] | None = None,
    strict: bool = False,
    partial: weights_file.Partial = False,
    engine: str | None = None,
    half: Half = False,
    names_anyway: bool = False,
    dialect: str | None = None,
) -> Model:
    """Build the network of a cfg, load its weights and put it on a device.

    Each file may be a path, or the name of one that comes with the package or was downloaded: `load("shapes")`,
    `load("yolov2-tiny", data="coco")`; a file that exists comes first. A name alone takes the weights of its name.

    `names` is a .names file or the names themselves; otherwise the .data file `data` says where they are, and
    without either classes go by their numbers. `device` None takes the first GPU if there is one. `size`, a width
    and height or one number for both, is another input size. `strict` makes unknown and repeated keys errors;
    `weights` are a .weights file or a state dict (.safetensors, .pt); without they are random, which is worth a warning
    where a name has none. `partial` takes a file that ends early or goes on; "matching" takes, of one for other
    classes, the layers that fit. `names_anyway` takes other names than there are classes, which are a `NamesError`
    otherwise. `dialect` "darknet" reads a cfg that is for AlexeyAB's Darknet, which is refused otherwise, as the
    original would. `engine` and `half` are as in `Model`.
    """
    weights = _weights_of(cfg) if weights is None else weights
    graph = Graph.read(cfg, strict=strict, dialect=dialect)
    if size is not None:
        width, height = map(index, size if isinstance(size, Sequence) else (size, size))  # no fractions
        graph = graph.resized(width, height)
    names, source = _names(names, data)
    if not names_anyway:
        check_names(graph, names, source)
    after_fork()
    target = pick_device(device)
    native.library()  # compiled here if it has to be, not while the first picture waits
    if weights is None:
        network = Network(graph)
    else:
        network, loaded = weights_file.made(graph, weights, weights_file.Reading(partial=partial))
        if not (loaded.whole or partial):
            text = f"{weights} has weights up to layer {loaded.layers - 1}; those of later layers are random"
            warnings.warn(DarknetWarning(text), stacklevel=2)
    network.to(target).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.require_memory()
    return Model(network, names, engine, half=half)


def _names(names: Names | None, data: str | Path | DataFile | None) -> tuple[Sequence[str], str]:
    """The names of classes and where they are from."""
    if isinstance(names, (str, Path)):
        return tuple(map(legible, read_names(names))), str(names)
    if names is not None or data is None:
        return names or (), "names"
    data = data if isinstance(data, DataFile) else read_data(data)
    return data.names(), str(data.path("names", "labels"))


def _weights_of(cfg: str | Path) -> Path | None:
    """The weights that a network given by its name has, or None."""
    if not is_name(cfg):
        return None
    weights = weights_file.find(cfg)
    if weights.is_file():
        return weights
    how = f"darknet-py download {cfg} fetches those of the original" if str(cfg) in MODELS else "say which to load"
    warnings.warn(DarknetWarning(f"there are no weights called {cfg} here, so they are random; {how}"), stacklevel=3)
    return None
