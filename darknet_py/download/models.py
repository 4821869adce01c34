"""The weights that pjreddie.com hosts, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypedDict


@dataclass(frozen=True)
class Model:
    """One weights file and the texts that go with it, as paths below their hosts."""

    name: str
    weights: str
    cfg: str | None = None  # None for a file of the first layers, which suits many networks
    names: str | None = None
    data: str | None = None
    tree: str | None = None
    map: str | None = None
    extra: tuple[str, ...] = ()  # texts that `data` refers to
    digest: str | None = None  # of the weights: "sha256:...", "sha1:..." or "md5:...", if published
    size: int | None = None  # of the weights in bytes, if published


class Texts(TypedDict, total=False):
    """Files that networks for the same classes share."""

    names: str
    data: str
    tree: str
    map: str
    extra: tuple[str, ...]


NOTHING: Final = Texts()
VOC: Final = Texts(names="data/voc.names", data="cfg/voc.data")
COCO: Final = Texts(names="data/coco.names", data="cfg/coco.data")
OPENIMAGES: Final = Texts(names="data/openimages.names", data="cfg/openimages.data")
NINE_K: Final = Texts(
    names="data/9k.names",
    data="cfg/combine9k.data",
    tree="data/9k.tree",
    map="data/coco9k.map",
    extra=("data/9k.labels", "data/inet9k.map"),
)
IMAGENET: Final = Texts(
    names="data/imagenet.shortnames.list", data="cfg/imagenet1k.data", extra=("data/imagenet.labels.list",)
)


def _network(
    name: str, texts: Texts, size: int | None = None, digest: str | None = None, *, weights: str | None = None
) -> Model:
    """A network whose files have its name, except `weights` if given."""
    return Model(name, weights or f"{name}.weights", f"cfg/{name}.cfg", **texts, size=size, digest=digest)


def _first_layers(name: str, size: int | None = None, digest: str | None = None) -> Model:
    """Weights to start training from."""
    return Model(name, name, size=size, digest=digest)


_MODELS: Final = (
    _network(
        "yolov1",
        VOC,
        digest="sha256:df414df832ed10e3f2788df1e0e0ae573976573b97b5eec2c824ab9e5a8ae6d6",
        weights="yolov1/yolov1.weights",
    ),
    _network("yolov1-tiny", VOC, weights="yolov1/tiny-yolov1.weights"),
    _network("yolov2-voc", VOC, 202704264),
    _network("yolov2-tiny-voc", VOC, 63471556, "sha1:24b4bd049fc4fa5f5e95f684a8967e65c625dff9"),
    _network("yolov2", COCO, 203934260, "sha256:d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f"),
    _network("yolov2-tiny", COCO, 44948600),
    _network("yolov3", COCO, 248007048, "sha256:523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297"),
    _network("yolov3-tiny", COCO, 35434956, "sha256:dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c"),
    _network("yolov3-spp", COCO, 252209544, "sha256:87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4"),
    # Only an MD5 is published for this one, which detects accidents but not forgeries.
    _network("yolo9000", NINE_K, digest="md5:d74ee8d5909f3b7446e9b350b4dd0f44"),
    _network(
        "yolov3-openimages",
        OPENIMAGES,
        digest="sha256:be129d792d8c7cc19b17bcb9d40ced71cdf079bfd246cbd1cfca40568ac74ee1",
    ),
    _network("alexnet", IMAGENET),
    _network("darknet", IMAGENET),
    _network("darknet19", IMAGENET),
    _network("darknet19_448", IMAGENET),
    _network("darknet53", IMAGENET),
    _network("darknet53_448", IMAGENET),
    _network("densenet201", IMAGENET),
    _network("extraction", IMAGENET),
    _network("resnet18", IMAGENET),
    _network("resnet34", IMAGENET),
    _network("resnet50", IMAGENET),
    _network("resnet101", IMAGENET),
    _network("resnet152", IMAGENET),
    _network("resnext50", IMAGENET),
    _network("resnext101-32x4d", IMAGENET),
    _network("resnext152-32x4d", IMAGENET),
    _network("tiny", IMAGENET),
    _network("vgg-16", IMAGENET),
    _network("vgg-conv", NOTHING),
    _network("jnet-conv", NOTHING),
    _first_layers("darknet19_448.conv.23", 79327120),
    _first_layers(
        "darknet53.conv.74", 162482580, "sha256:2495c2690283e4e0bc2050cbd4660b77a8074e14e9c11150c6412fd63db496a7"
    ),
    _first_layers("extraction.conv.weights"),
    _first_layers("darknet.conv.weights"),
)
MODELS: Final[Mapping[str, Model]] = {model.name: model for model in _MODELS}
