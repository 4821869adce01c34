"""Reads regular files only, and writes each beside the old one before it takes its name."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final

from darknet_py.errors import CfgError, DarknetError, Location, os_reason
from darknet_py.files.locks import mark, remove_left

SMALL: Final = 4 << 20  # bytes of a cfg; the largest official one has 20 KB
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
exists, is_file, is_folder = os.path.exists, os.path.isfile, os.path.isdir  # unlike those of Path, these never raise
_PART: Final = re.compile(r"\..{1,32}\.[a-z0-9_]{8}\.part", re.DOTALL)


def opened(path: str | Path) -> BufferedReader:
    """Open a regular file to read its bytes; anything else, such as a pipe that might never end, is an `OSError`.

    Nothing is read from a pipe, a device or a socket, and its writer does not have to wait.
    """
    try:
        file = open(path, "rb", opener=_at_once)  # noqa: SIM115 - a Path takes no opener; the caller closes it
    except ValueError as error:  # a NUL or half a pair of surrogates in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: str | Path, limit: int = SMALL) -> str:
    """The text of a file, with Unix line ends; `CfgError` if it is not text, or has more than `limit` bytes.

    A byte order mark of UTF-16 means UTF-16; every other text is UTF-8. Invalid bytes are decoded as `os.fsdecode`
    does, so that the name of a file in a list is its name on the disk.
    """
    where = Location(str(path))
    try:
        with opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            data = b"" if size > limit else file.read(min(max(size, 1 << 16), limit) + 1)  # /proc has sizes of 0
    except OSError as error:
        raise CfgError(f"cannot be read: {os_reason(error)}", where) from error
    if max(size, len(data)) > limit:
        raise CfgError(f"larger than {limit} bytes; is this the right file?", where)
    try:
        text = data.decode("utf-16") if data.startswith(_UTF16) else data.decode("utf-8-sig", "surrogateescape")
    except UnicodeDecodeError:
        raise CfgError("this UTF-16 text is damaged or cut short; save it as UTF-8", where) from None
    if "\0" in text:
        raise CfgError("this is not a text file, or UTF-16 without its mark; save it as UTF-8", where)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def legible(name: str) -> str:
    """A name for display; bytes that are not UTF-8 are taken for Latin-1."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    return name


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "wb", *, durable: bool = False, **options: Any) -> Iterator[IO[Any]]:
    """Open a new file that replaces `path` if the block ends without an error.

    Until then an old file stays as it is, and an error leaves no trace of the new one. With `durable` the new file is
    on the disk when the block ends. A path that is not a regular file (a pipe, /dev/stdout) is written directly.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        with path.open(mode, **options) as file:
            yield file
        return
    path = path.resolve()  # a link stays a link
    handle, part = _new_part(path)
    try:
        with os.fdopen(handle, mode, closefd=False, **options) as file:
            yield file
        if durable:
            os.fsync(handle)
        if os.name == "nt":  # where an open file cannot be renamed
            os.close(handle)
        part.chmod(permissions(path))
        part.replace(path)
        if durable:
            settle(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        if os.name != "nt":
            os.close(handle)


def _new_part(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open and locked, so that no other process takes it for a leftover."""
    while True:
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name[:32]}.", suffix=".part", dir=path.parent)
        except OSError as error:
            error.filename = str(path)  # not that of a temporary file nobody asked for
            raise
        if mark(handle):
            return handle, Path(name)
        os.close(handle)


def clear_parts(folder: Path) -> None:
    """Remove the unfinished files that a killed process left in a folder."""
    with contextlib.suppress(OSError):  # the folder does not exist yet
        for path in folder.glob(".*.part"):
            if _PART.fullmatch(path.name):
                remove_left(path)


def settle(path: Path) -> None:
    """Wait until a file, or a folder's list of names, is on the disk; some file systems cannot sync folders."""
    with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_writable(path: str | Path) -> None:
    """Raise the `OSError` that writing this file would raise, as far as that can be known beforehand."""
    path = Path(path)
    if path.is_dir():
        raise _fault(errno.EISDIR, path)
    try:
        os.stat(f"{path.parent}{os.sep}")  # noqa: PTH116 - a Path drops the separator, which says that it is a folder
    except OSError as error:
        error.filename = str(path)
        raise
    if not os.access(path if path.exists() and not path.is_file() else path.parent, os.W_OK):
        raise _fault(errno.EACCES, path)


def check_folder(path: str | Path) -> None:
    """The same for a folder of new files; it and its parents are created if they are missing."""
    nearest = path = Path(path)
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise _fault(errno.EEXIST if nearest == path else errno.ENOTDIR, path)
    if not os.access(nearest, os.W_OK):
        raise _fault(errno.EACCES, path)


def _fault(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def permissions(path: Path) -> int:
    """The permissions of the old file, or those that a new file would get."""
    if path.exists():
        return path.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def cache_folder() -> Path:
    """The folder for downloads and compiled kernels: $DARKNET_PY_CACHE, or `darknet_py` in the user's cache.

    XDG_CACHE_HOME counts if it is an absolute path, as its specification says. Raises `DarknetError` if there is no
    home directory.
    """
    own = os.environ.get("DARKNET_PY_CACHE")
    user = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    try:
        if own:
            return Path(own).expanduser().absolute()
        base = Path(user or "").expanduser()
        return (base if base.is_absolute() else Path.home() / ".cache") / "darknet_py"
    except RuntimeError as error:
        raise DarknetError(f"{error} DARKNET_PY_CACHE can name a folder for what is kept") from error


def private(folder: Path) -> Path:
    """The same folder without links, created if need be; `PermissionError` if others could put files into it.

    It and every folder above it must belong to this user or to root and be writable by nobody else, unless they are
    sticky like /tmp, where nobody can replace the files of others.
    """
    for path in reversed((folder, *folder.parents)):
        if not path.exists():
            path.mkdir(mode=0o700, exist_ok=True)
    folder = folder.resolve()
    for path in (folder, *folder.parents):
        info = path.stat()
        sticky = path != folder and info.st_mode & stat.S_ISVTX
        owners = (os.getuid(),) if path == folder else (os.getuid(), 0)
        open_to = info.st_mode & (0o002 if _is_own_group(info.st_gid) else 0o022)
        if info.st_uid not in owners or (open_to and not sticky):
            raise PermissionError(errno.EACCES, "others can write there", str(path))
    return folder


def _is_own_group(number: int) -> bool:
    """Whether a group is the private group that many systems create for each user."""
    import grp  # noqa: PLC0415  # not on Windows
    import pwd  # noqa: PLC0415

    try:
        group, user = grp.getgrgid(number), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
