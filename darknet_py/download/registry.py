"""The weights that pjreddie.com hosts, by name, and how they get here whole.

A folder that :func:`download` fills is laid out like a Darknet checkout, weights at the top and `cfg/` and
`data/` below, so the relative paths inside cfg and .data files hold there. A mirror is laid out the same way,
or flat: MIRROR/yolov2.weights, and MIRROR/cfg/yolov2.cfg or MIRROR/yolov2.cfg.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TextIO

from darknet_py.download.transfer import Line, Progress, Wanted, fetch, hashed, scheme_of, shown_url, size_of
from darknet_py.errors import DownloadError, os_reason
from darknet_py.files import cache_folder

if TYPE_CHECKING:
    import requests

ExpectedBytes = Callable[[Path], Collection[int]]  # cfg -> the sizes its weights file may have

# The site moved its files to a host of their own; the old address may answer with the front page instead.
WEIGHTS_HOSTS: Final = ("https://data.pjreddie.com/files", "https://pjreddie.com/media/files")
TEXTS_HOSTS: Final = ("https://raw.githubusercontent.com/pjreddie/darknet/master",)
MAX_WEIGHTS: Final = 4 << 30
MAX_TEXT: Final = 16 << 20


@dataclass(frozen=True)
class Model:
    """One weights file and the texts that go with it, as paths below their hosts."""

    name: str
    weights: str
    cfg: str | None = None  # None: a file of the first layers only, for many networks
    names: str | None = None
    data: str | None = None
    tree: str | None = None
    map: str | None = None
    extra: tuple[str, ...] = ()  # texts that `data` refers to
    digest: str | None = None  # of the weights: "sha256:...", "sha1:..." or "md5:...", where one is published
    size: int | None = None  # of the weights in bytes, where published


@dataclass(frozen=True)
class Downloaded:
    """Where the files of a model are now."""

    name: str
    folder: Path
    weights: Path
    cfg: Path | None = None
    names: Path | None = None
    data: Path | None = None
    tree: Path | None = None
    map: Path | None = None


_COCO = Model("coco", "", names="data/coco.names", data="cfg/coco.data")
_VOC = Model("voc", "", names="data/voc.names", data="cfg/voc.data")
_OPENIMAGES = Model("openimages", "", names="data/openimages.names", data="cfg/openimages.data")
_NINE_K = Model(
    "9k",
    "",
    names="data/9k.names",
    data="cfg/combine9k.data",
    tree="data/9k.tree",
    map="data/coco9k.map",
    extra=("data/9k.labels", "data/inet9k.map"),
)
_IMAGENET = Model(
    "imagenet",
    "",
    names="data/imagenet.shortnames.list",
    data="cfg/imagenet1k.data",
    extra=("data/imagenet.labels.list",),
)
_NETWORKS: Final = (
    (_VOC, "yolov1 yolov1-tiny yolov2-voc yolov2-tiny-voc"),
    (_COCO, "yolov2 yolov2-tiny yolov3 yolov3-tiny yolov3-spp"),
    (_NINE_K, "yolo9000"),
    (_OPENIMAGES, "yolov3-openimages"),
    (_IMAGENET, "alexnet darknet darknet19 darknet19_448 darknet53 darknet53_448 densenet201 extraction"),
    (_IMAGENET, "resnet18 resnet34 resnet50 resnet101 resnet152 resnext50 resnext101-32x4d resnext152-32x4d"),
    (_IMAGENET, "tiny vgg-16"),
    (Model("", ""), "vgg-conv jnet-conv"),
)
_FIRST_LAYERS: Final = "darknet19_448.conv.23 darknet53.conv.74 extraction.conv.weights darknet.conv.weights"
_ELSEWHERE: Final = {"yolov1": "yolov1/yolov1.weights", "yolov1-tiny": "yolov1/tiny-yolov1.weights"}
_DIGESTS: Final = {
    "yolov1": "sha256:df414df832ed10e3f2788df1e0e0ae573976573b97b5eec2c824ab9e5a8ae6d6",
    "yolov2": "sha256:d9945162ed6f54ce1a901e3ec537bdba4d572ecae7873087bd730e5a7942df3f",
    "yolov2-tiny-voc": "sha1:24b4bd049fc4fa5f5e95f684a8967e65c625dff9",
    # Nothing better than MD5 is published for this one: it finds accidents, not forgeries.
    "yolo9000": "md5:d74ee8d5909f3b7446e9b350b4dd0f44",
    "yolov3": "sha256:523e4e69e1d015393a1b0a441cef1d9c7659e3eb2d7e15f793f060a21b32f297",
    "yolov3-tiny": "sha256:dccea06f59b781ec1234ddf8d1e94b9519a97f4245748a7d4db75d5b7080a42c",
    "yolov3-spp": "sha256:87a1e8c85c763316f34e428f2295e1db9ed4abcec59dd9544f8052f50de327b4",
    "yolov3-openimages": "sha256:be129d792d8c7cc19b17bcb9d40ced71cdf079bfd246cbd1cfca40568ac74ee1",
    "darknet53.conv.74": "sha256:2495c2690283e4e0bc2050cbd4660b77a8074e14e9c11150c6412fd63db496a7",
}
_SIZES: Final = {
    "yolov2": 203934260,
    "yolov2-tiny": 44948600,
    "yolov2-voc": 202704264,
    "yolov2-tiny-voc": 63471556,
    "yolov3": 248007048,
    "yolov3-tiny": 35434956,
    "yolov3-spp": 252209544,
    "darknet19_448.conv.23": 79327120,
    "darknet53.conv.74": 162482580,
}


def _models() -> Iterator[Model]:
    for common, names in _NETWORKS:
        for name in names.split():
            weights = _ELSEWHERE.get(name, f"{name}.weights")
            digest, size = _DIGESTS.get(name), _SIZES.get(name)
            yield replace(common, name=name, weights=weights, cfg=f"cfg/{name}.cfg", digest=digest, size=size)
    for name in _FIRST_LAYERS.split():
        yield Model(name, name, digest=_DIGESTS.get(name), size=_SIZES.get(name))


MODELS: Final[Mapping[str, Model]] = {model.name: model for model in _models()}


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    mirror: str | None = None,
    force: bool = False,
    progress: bool | Progress = False,
    session: requests.Session | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    backoff: float = 0.5,
    slowest: float = 1024.0,
    expected_bytes: ExpectedBytes | None = None,
    models: Mapping[str, Model] = MODELS,
) -> Downloaded:
    """Fetch a model's weights and texts into `folder`; what is there already stays, unless `force`.

    `timeout` is the longest wait for the next bytes in seconds, `slowest` how many bytes have to come a second over a
    minute, `backoff` the pause before the first of the `retries`; it doubles. `progress` True shows bars on stderr. A
    download that breaks off leaves NAME.part and goes on from there the next time; downloads into one folder take
    turns. Raises `DownloadError`.
    """
    import requests  # noqa: PLC0415 - the registry alone stays light

    model = _find(name, models)
    root = Path(folder) if folder is not None else cache_folder()
    if mirror is not None and scheme_of(mirror) not in {"http", "https"}:
        before, at, after = mirror.rpartition("@")
        shown = shown_url(mirror) if "://" in before else f"{'***' if at else ''}{at}{after}"
        raise DownloadError(f"mirror {shown!r} is not an address that starts with http:// or https://")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root), _reporting(progress) as report, ExitStack() as stack:
            session = session or stack.enter_context(requests.Session())
            line = Line(session, timeout, retries, backoff, report, slowest)
            return _download(model, _Place(root, mirror, force), line, expected_bytes)
    except OSError as error:
        trouble = f"cannot store {name} in {root}: {os_reason(error)}"
        raise DownloadError(f"{trouble}; put that right, or use another folder") from error


def _find(name: str, models: Mapping[str, Model]) -> Model:
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.5)
    label = "the nearest are" if near else "there are"
    raise DownloadError(f"no model is called {name!r}; {label} {', '.join(near or models)}")


class _Place(NamedTuple):
    """Where files come from and go to."""

    root: Path
    mirror: str | None
    force: bool

    def addresses(self, path: str, hosts: Collection[str]) -> list[str]:
        if self.mirror is None:
            return [f"{host}/{path}" for host in hosts]
        base = self.mirror.rstrip("/")
        return [f"{base}/{place}" for place in dict.fromkeys((path, path.rpartition("/")[2]))]


def _download(model: Model, place: _Place, line: Line, expected_bytes: ExpectedBytes | None) -> Downloaded:
    def text(path: str | None) -> Path | None:
        target = place.root / path if path else None
        if path and target and (place.force or not target.exists()):
            fetch(place.addresses(path, TEXTS_HOSTS), target, Wanted(target.name, MAX_TEXT), line)
        return target

    cfg, names, data, tree, class_map, *_ = map(
        text, (model.cfg, model.names, model.data, model.tree, model.map, *model.extra)
    )
    sizes: Collection[int] = (model.size,) if model.size else ()
    asker = "the original"
    if cfg and expected_bytes:
        sizes, asker = expected_bytes(cfg), str(cfg)
    target = place.root / Path(model.weights).name
    wanted = Wanted(target.name, MAX_WEIGHTS, sizes, asker, model.digest)
    if place.force or not target.exists():
        fetch(place.addresses(model.weights, WEIGHTS_HOSTS), target, wanted, line)
    elif fault := wanted.fault(size_of(target), hashed(target, model.digest).hexdigest()):
        raise DownloadError(f"{target} {fault}; move it away, or force a new download")
    return Downloaded(model.name, place.root, target, cfg, names, data, tree, class_map)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other downloads out of the folder; the lock ends with the process, the empty file stays."""
    with (folder / ".lock").open("ab") as handle:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def _reporting(progress: bool | Progress) -> Iterator[Progress]:
    if callable(progress):
        yield progress
        return
    with ExitStack() as bars:
        yield bars_of(bars) if progress else lambda _name, _done, _total: None


def bars_of(stack: ExitStack, file: TextIO | None = None) -> Progress:
    """A bar a file, in `file` or else on stderr; they end with the stack."""
    from tqdm import tqdm  # noqa: PLC0415

    shown: dict[str, tqdm[NoReturn]] = {}

    def report(name: str, done: int, total: int | None) -> None:
        if name not in shown:
            bar = tqdm(file=file, desc=name, total=total, unit="B", unit_scale=True, unit_divisor=1024)
            stack.callback(bar.close)
            shown[name] = bar
        shown[name].update(done - shown[name].n)

    return report
