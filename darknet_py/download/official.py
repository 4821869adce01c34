"""Fetches a model's weights and texts from their hosts or a mirror into a folder.

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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from darknet_py.download.addresses import scheme_of, shown_url
from darknet_py.download.client import Client
from darknet_py.download.models import MODELS, Model
from darknet_py.download.progress import FileProgress, reporting
from darknet_py.download.transfer import Transfer
from darknet_py.download.wanted import Wanted
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
class Downloaded:
    """The local files of a model."""

    name: str
    folder: Path
    weights: Path
    cfg: Path | None = None
    names: Path | None = None
    data: Path | None = None
    tree: Path | None = None
    map: Path | None = None


def download(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    mirror: str | None = None,
    force: bool = False,
    progress: bool | FileProgress = False,
    session: requests.Session | None = None,
    timeout: float = 30.0,
    retries: int = 5,
    backoff: float = 0.5,
    slowest: float = 1024.0,
    expected_bytes: ExpectedBytes | None = None,
    models: Mapping[str, Model] = MODELS,
) -> Downloaded:
    """Fetch a model's weights and texts into `folder`; existing files stay, unless `force`.

    `timeout` is the longest wait for the next bytes in seconds, `slowest` the fewest bytes per second over a minute,
    `backoff` the pause before the first of the `retries`; it doubles. `progress` True shows bars on stderr. An
    interrupted download leaves NAME.part and continues from it the next time; downloads into one folder take turns.
    Raises `DownloadError`.
    """
    import requests  # noqa: PLC0415 - the list of models alone stays light

    model = _find(name, models)
    root = Path(folder) if folder is not None else cache_folder()
    _check_mirror(mirror)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root), reporting(progress) as report, ExitStack() as stack:
            session = session or stack.enter_context(requests.Session())
            transfer = Transfer(Client(session, timeout, slowest), retries, backoff, report)
            return _Place(root, mirror, force, transfer).bring(model, expected_bytes)
    except OSError as error:
        trouble = f"cannot store {name} in {root}: {os_reason(error)}"
        raise DownloadError(f"{trouble}; put that right, or use another folder") from error


def _find(name: str, models: Mapping[str, Model]) -> Model:
    if name in models:
        return models[name]
    near = difflib.get_close_matches(name, models, n=3, cutoff=0.5)
    label = "the nearest are" if near else "there are"
    raise DownloadError(f"no model is called {name!r}; {label} {', '.join(near or models)}")


def _check_mirror(mirror: str | None) -> None:
    if mirror is not None and scheme_of(mirror) not in {"http", "https"}:
        before, at, after = mirror.rpartition("@")
        shown = shown_url(mirror) if "://" in before else f"{'***' if at else ''}{at}{after}"
        raise DownloadError(f"mirror {shown!r} is not an address that starts with http:// or https://")


class _Place(NamedTuple):
    """The source and the target of a model's files."""

    root: Path
    mirror: str | None
    force: bool
    transfer: Transfer

    def bring(self, model: Model, expected_bytes: ExpectedBytes | None) -> Downloaded:
        """Fetch what is missing; texts first, because they determine the size of the weights."""
        cfg, names, data, tree, class_map, *_ = map(
            self._text, (model.cfg, model.names, model.data, model.tree, model.map, *model.extra)
        )
        sizes: Collection[int] = (model.size,) if model.size else ()
        asker = "the original"
        if cfg and expected_bytes:
            sizes, asker = expected_bytes(cfg), str(cfg)
        target = self.root / Path(model.weights).name
        wanted = Wanted(target.name, MAX_WEIGHTS, sizes, asker, model.digest)
        if self._lacks(target):
            self.transfer.fetch(self._addresses(model.weights, WEIGHTS_HOSTS), target, wanted)
        elif fault := wanted.fault_in(target):
            raise DownloadError(f"{target} {fault}; move it away, or force a new download")
        return Downloaded(model.name, self.root, target, cfg, names, data, tree, class_map)

    def _text(self, path: str | None) -> Path | None:
        if path is None:
            return None
        target = self.root / path
        if self._lacks(target):
            self.transfer.fetch(self._addresses(path, TEXTS_HOSTS), target, Wanted(target.name, MAX_TEXT))
        return target

    def _lacks(self, target: Path) -> bool:
        return self.force or not target.exists()

    def _addresses(self, path: str, hosts: Collection[str]) -> list[str]:
        if self.mirror is None:
            return [f"{host}/{path}" for host in hosts]
        base = self.mirror.rstrip("/")
        return [f"{base}/{place}" for place in dict.fromkeys((path, path.rpartition("/")[2]))]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other downloads; the lock ends with the process, the empty file stays."""
    with (folder / ".lock").open("ab") as handle:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
