"""The files of a run: Darknet's weights, and NAME.resume beside NAME.backup with the state to continue from."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from darknet_py import weights
from darknet_py.errors import WeightsError, os_reason
from darknet_py.files import check_folder, clear_parts, opened, replacing, settle
from darknet_py.files.locks import FolderLock
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network
from darknet_py.weights import pickled

FORMAT: Final = 1
CHUNK: Final = 1 << 20
KINDS: Final = {"seed": int, "average": float, "backups": list, "network": dict, "stepper": dict, "history": dict}
HINT: Final = "remove it to start anew, or train with -clear"


def base_name(graph: Graph) -> str:
    """The name of a cfg without folder and suffixes (basecfg in utils.c)."""
    name = Path(graph.source).name
    return name.split(".")[0] or Path(graph.source).stem


class Saver:
    """Saves under a name in a folder; `last` is the last saved file."""

    def __init__(self, folder: Path, name: str, final: str = "_final") -> None:
        self.folder, self.name, self._final = folder, name, final
        self.path = folder / f"{name}.backup"
        self.last: Path | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Create and lock the folder; raises `DarknetError` if another run has it."""
        lock = FolderLock(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.take()
        except OSError as error:
            raise _no_place(self.folder, error) from error
        try:
            yield
        finally:
            lock.give_back()

    def prepare(self) -> None:
        """Create the folder, and remove half-written files of a killed run."""
        name = rf"\.+{re.escape(self.name)}(_\w+)?\.(backup|resume|weights)(\.part)?(\.\w+\.part)?"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            clear_parts(self.folder)
            for path in self.folder.glob(".*.part"):
                if re.fullmatch(name, path.name):
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise _no_place(self.folder, error) from error

    def numbered(self, network: Network, number: int) -> Path:
        """Save NAME_N.weights after N updates or epochs."""
        return self._save(network, f"{self.name}_{number}.weights")

    def final(self, network: Network) -> Path:
        """Save the final weights."""
        return self._save(network, f"{self.name}{self._final}.weights")

    def _save(self, network: Network, name: str) -> Path:
        with self._whole(self.folder / name) as part:
            weights.save(network, part)
        return self.folder / name

    @contextmanager
    def _whole(self, path: Path) -> Iterator[Path]:
        """A file that becomes `path` once it is on the disk; errors are a `WeightsError` that names `path`."""
        part = self.folder / f".{path.name}.part"
        try:
            yield part
            settle(part)
            part.replace(path)
            settle(self.folder)
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(part), str(path))) from error
        except OSError as error:
            raise WeightsError(f"{path}: cannot be written: {os_reason(error)}") from error
        finally:
            part.unlink(missing_ok=True)
        self.last = path

    def backup(self, network: Network, state: Mapping[str, Any]) -> Path:
        """Write NAME.resume with `state` and the network, then NAME.backup; each replaces the old one in one step.

        A run that is killed between the two leaves a new NAME.resume and an old NAME.backup. The former has the digests
        of both backups and the weights itself, so the files on the disk always fit together. `state` consists of plain
        numbers, strings, tensors, lists and dicts. Raises `WeightsError` if the disk is full; the old files stay.
        """
        with self._whole(self.path) as part:
            weights.save(network, part)
            backups = [digest(path) for path in (part, self.path) if path.exists()]
            values = {**state, "format": FORMAT, "backups": backups, "network": network.state_dict()}
            _write(resume_beside(self.path), values)
        return self.path


def check_place(folder: Path) -> None:
    """Raise `WeightsError` if weights cannot be saved in a folder, as far as that is known beforehand."""
    try:
        check_folder(folder)
    except OSError as error:
        raise _no_place(folder, error) from error


def _no_place(folder: Path, error: OSError) -> WeightsError:
    return WeightsError(f"{folder}: weights cannot be saved here: {os_reason(error)}")


def resume_beside(backup: str | Path) -> Path:
    """The resume file that belongs to a NAME.backup."""
    return Path(backup).with_suffix(".resume")


def _write(path: Path, values: Mapping[str, Any]) -> None:
    try:
        with replacing(path, durable=True) as file:
            try:
                torch.save(dict(values), file)
            except RuntimeError as error:  # from closing the archive, which hides the first error
                raise error.__context__ or error from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {os_reason(error)}") from error


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a NAME.resume."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read a resume file onto the CPU without running code from it; raises `WeightsError` if it is not one."""
        path = Path(path)
        try:
            values: Any = pickled.load(path, whole=True)
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read: {os_reason(error)}") from error
        except WeightsError as error:
            raise WeightsError(f"{path}: it is no whole resume file: {error}; {HINT}") from error
        known = isinstance(values, dict) and values.get("format") == FORMAT
        if not known or not all(isinstance(values.get(key), kind) for key, kind in KINDS.items()):
            raise WeightsError(f"{path}: it is no resume file of this version; {HINT}")
        return cls(path, values)

    @property
    def seed(self) -> int:
        """The seed of the run."""
        seed: int = self.values["seed"]
        return seed

    def belongs_to(self, backup: str | Path) -> bool:
        """Whether this was written with a NAME.backup, or right after it."""
        return digest(Path(backup)) in self.values["backups"]

    def restore(self, network: Network) -> None:
        """Load these weights into a network; raises `WeightsError` if they belong to another one."""
        mine, found = network.state_dict(), self.values["network"]
        wrong = next((key for key in mine if not _alike(mine[key], found.get(key))), None)
        if wrong is None and len(mine) != len(found):
            wrong = next(key for key in found if key not in mine)
        if wrong is not None:
            raise WeightsError(f"{self.path}: {wrong} does not fit {network.graph.source}; {HINT}")
        network.load_state_dict(found)


def _alike(mine: Tensor, stored: object) -> bool:
    return isinstance(stored, Tensor) and stored.shape == mine.shape and stored.dtype == mine.dtype


def digest(path: Path) -> str:
    """The digest of a file."""
    found = hashlib.blake2b(digest_size=16)
    with opened(path) as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    return found.hexdigest()
