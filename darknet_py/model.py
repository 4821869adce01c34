"""`load` and `Model`: a network with its weights and class names, ready for pictures."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import TypeAlias, overload

import torch

from darknet_py import weights as weights_file
from darknet_py.boxes.suppress import Nms
from darknet_py.cfg import DataFile, read_data, read_names
from darknet_py.devices import after_fork, pick_device
from darknet_py.download import MODELS
from darknet_py.engine import Engine
from darknet_py.engine.backend import Half
from darknet_py.errors import DarknetError, DarknetWarning
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
from darknet_py.predict.stream import Images, found_in
from darknet_py.shipped import is_name

Names: TypeAlias = "str | Path | Sequence[str]"


class Model:
    """A network in eval mode with the names of its classes; `network` is the torch module.

    An `engine` computes it and follows its changes: one of `darknet_py.engine.ENGINES`, or None for the fastest. With
    `half` it uses 16 bits where that is faster; a type instead of True chooses between the two kinds of a GPU. Raises
    `DarknetError` for an engine that this machine or the network's device lacks.
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
        """Whether it is a detector; otherwise it is a classifier."""
        return all(node.layer in DECODERS for node in self.network.graph.heads)

    @property
    def detector(self) -> Detector:
        """The network as a detector; raises `DarknetError` if it is not one."""
        if not self.detects:
            raise DarknetError(f"{self.network.graph.source} has no layer that gives boxes: is this a classifier?")
        return Detector(self.engine, self.names)

    @property
    def classifier(self) -> Classifier:
        """The network as a classifier; raises `DarknetError` if it is not one."""
        head = next((node for node in self.network.graph.heads if node.layer.is_head), None)
        if head is not None:
            raise DarknetError(f"{self.network.graph.source} ends in {head}, so it is no classifier")
        return Classifier(self.engine, self.names)

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

        A picture is a path, a PIL image, an array (H, W, C) or a tensor (C, H, W); arrays are RGB, with values of uint8
        or from 0 to 1. A tensor (N, C, H, W) or an array (N, H, W, C) counts as a list. Lists are computed `batch`
        pictures at a time.

        `thresh` is the lowest score, `hier` the probability that a finer class of a tree needs, `nms` the overlap above
        which the lower of two boxes of a class is dropped (0 keeps all), or an `Nms` of another kind; None is the value
        of the cfg's dialect, for Darknet 0.45. `classes` are the classes of a tree that count, as a .map file lists
        them; labels are then positions in that list. Raises `ImageError` for a picture that cannot be used.
        """
        detector = self.detector
        if classes is not None:
            detector = self._narrowed(detector, classes)
        settings = Settings(thresh, hier, None if classes is None else tuple(classes))
        chosen = detector.suppression(nms)
        return found_in(images, self.engine, lambda part: detector.detect(part, settings, chosen), batch)

    @overload
    def classify(self, images: Images, *, top: int = ..., batch: int | None = ...) -> list[Classification]: ...
    @overload
    def classify(self, images: ImageLike, *, top: int = ..., batch: int | None = ...) -> Classification: ...
    def classify(
        self, images: ImageLike | Images, *, top: int = 5, batch: int | None = None
    ) -> Classification | list[Classification]:
        """Find the `top` most probable classes of a picture, or of each of a list; pictures as in `detect`."""
        classifier = self.classifier
        return found_in(images, self.engine, lambda part: classifier.classify(part, top), batch)

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

        Frames come in order, with their pixels and times. The outputs for the last `average` frames are averaged; a box
        suppresses those of any class with a lower objectness. The other arguments are as in `detect`.
        """
        with VideoReader(path) as video:
            settings, how, count = Settings(thresh, hier), Nms.of(nms, "objectness"), batch or self.batch
            yield from frames.detect_frames(self.detector, video, settings, how, average=average, batch=count)

    @property
    def batch(self) -> int:
        """The default batch size."""
        return usual_batch(self.network.device)

    def _narrowed(self, detector: Detector, classes: Sequence[int]) -> Detector:
        """The detector for these classes of its tree, with their names, unless there is already one name for each."""
        if detector.tree is None:
            raise DarknetError(f"{self.network.graph.source} has no tree, so `classes` has no meaning for it")
        if len(self.names) == len(classes):
            return detector
        return replace(detector, names=tuple(class_name(self.names, label) for label in classes))


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

    Each file may be a path or the name of an installed or downloaded file: `load("shapes")`, `load("yolov2-tiny",
    data="coco")`; a file that exists comes first. For only a name, the weights of that name are loaded.

    `weights` are a .weights file or a state dict (.safetensors, .pt); without, they are random, with a warning if a
    name has none. `partial` accepts a file that is too short or too long; "matching" loads the layers that fit from a
    file for other classes. `names` is a .names file or the names themselves; otherwise they are those of the .data file
    `data`, and without either classes have numbers. `names_anyway` accepts more or fewer names than classes, otherwise
    a `NamesError`. `device` None is the first GPU if there is one. `size`, a width and height or one number for both,
    is another input size. `strict` makes unknown and repeated keys errors. `dialect` names the dialect of the cfg:
    "darknet" reads one for AlexeyAB's Darknet, otherwise refused, as the original would. `engine` and `half` are as in
    `Model`.
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
    native.library()  # compile kernels now if need be, not at the first picture
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
    """The names of classes and their source."""
    if isinstance(names, (str, Path)):
        return tuple(map(legible, read_names(names))), str(names)
    if names is not None or data is None:
        return names or (), "names"
    data = data if isinstance(data, DataFile) else read_data(data)
    return data.names(), str(data.path("names", "labels"))


def _weights_of(cfg: str | Path) -> Path | None:
    """The weights of a network given by its name, or None."""
    if not is_name(cfg):
        return None
    weights = weights_file.find(cfg)
    if weights.is_file():
        return weights
    how = f"darknet-py download {cfg} fetches those of the original" if str(cfg) in MODELS else "say which to load"
    warnings.warn(DarknetWarning(f"there are no weights called {cfg} here, so they are random; {how}"), stacklevel=3)
    return None
