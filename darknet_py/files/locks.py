"""File locks of the kernel, which end with the process. On systems without them nothing is locked."""

from __future__ import annotations

import errno
import os
import warnings
from pathlib import Path
from typing import IO, Any, Final

from darknet_py.errors import DarknetError, DarknetWarning, os_reason

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

LOCK: Final = ".lock"
_BUSY: Final = (errno.EACCES, errno.EAGAIN)
_mine: Final[set[Path]] = set()  # a process can lock a file twice


class FolderLock:
    """The right to write into a folder, which one process has at a time; its number is in the file `.lock`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._file: IO[Any] | None = None

    def take(self) -> None:
        """Take the lock, or raise `DarknetError` with the number of the process that has it.

        Raises `OSError` if the folder cannot be written. A file system without locks is a warning.
        """
        while fcntl is not None and self._file is None:
            file = self.path.open("a+", encoding="ascii", errors="replace")
            try:
                if self.path.resolve() in _mine:
                    raise self._taken(os.getpid())
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                with file:
                    if error.errno in _BUSY:
                        file.seek(0)
                        raise self._taken(file.read(20).strip() or "unknown") from None
                text = f"{self.path}: cannot be locked ({os_reason(error)}): see that no other run writes here"
                warnings.warn(DarknetWarning(text), stacklevel=2)
                return
            except BaseException:
                file.close()
                raise
            if os.fstat(file.fileno()).st_nlink:
                self._keep(file)
            else:  # its last owner removed it just now
                file.close()

    def _taken(self, holder: object) -> DarknetError:
        return DarknetError(f"{self.path.parent}: process {holder} is training in this folder; give another one")

    def _keep(self, file: IO[Any]) -> None:
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._file = file
        _mine.add(self.path.resolve())

    def give_back(self) -> None:
        """Release the lock."""
        if self._file is not None:
            _mine.discard(self.path.resolve())
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def mark(handle: int) -> bool:
    """Lock an open file against `remove_left`; False if another process has just removed it as a leftover."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # there are no locks here, and no file counts as a leftover
            return True
    return os.fstat(handle).st_nlink > 0


def remove_left(path: Path) -> None:
    """Remove a file that no process has locked: a killed process left it."""
    if fcntl is None:
        return
    try:
        handle = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:  # it is gone, or belongs to another user
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:  # it is being written
        pass
    finally:
        os.close(handle)
