"""Checks zip archives of torch.save: they may not need more memory than the file has bytes."""

from __future__ import annotations

import os
import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, Final

from darknet_py.errors import WeightsError
from darknet_py.files import opened

MOST: Final = 100_000  # records; torch.save writes one per tensor
DIRECTORY: Final = 32 << 20  # bytes of the list of records
BROKEN: Final = "it is cut short or broken, or was not written by torch.save"
_END: Final = struct.Struct("<IHHHHIIH")  # "end of central directory" in the format's description
_LOCATOR: Final = struct.Struct("<IIQI")
_END64: Final = struct.Struct("<IQHHIIQQQQ")
_FOREIGN: Final = {
    "/code/": "it is TorchScript, a program, and not a state dict: save model.state_dict() in the program it is from",
    "archive_format": "it is a graph of torch.export (.pt2), not a state dict: give the file that it was made from",
    "exported_program": "it is a graph of torch.export (.pt2), not a state dict: give the file that it was made from",
    ".npy": "it holds NumPy arrays (.npz), not a state dict",
    "model.weights.h5": "it is a model of Keras: the .weights file it was made from is wanted",
    "AndroidManifest": "it is a program of Android",
    "[Content_Types]": "it is a document of Office",
}


def check(path: Path) -> None:
    """Raise `WeightsError` for a zip archive that torch.save did not write, `OSError` if it cannot be read.

    Two programs may find different directories in one file, and records in a directory may overlap. So there must be
    one directory, at the end, where torch.load finds it, and the records together may not be larger than the file.
    """
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_directory(file, size)
        file.seek(0)
        try:
            records = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, struct.error) as error:
            raise WeightsError(BROKEN) from error
    foreign = (what for record in records for mark, what in _FOREIGN.items() if mark in record.filename)
    if (what := next(foreign, None)) is not None:
        raise WeightsError(what)
    if not any(record.filename.endswith("/data.pkl") for record in records):
        raise WeightsError("it is a zip archive without a state dict: unpack it first")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise WeightsError("its records are compressed, which torch.save does not do")
    places = {record.header_offset for record in records}
    if sum(max(record.file_size, record.compress_size) for record in records) > size or len(places) < len(records):
        raise WeightsError("its records lie on each other: together they are larger than the file")


def _check_directory(file: BinaryIO, size: int) -> None:
    """Raise `WeightsError` unless the list of records is at the end of the file and consistent."""
    end = size - _END.size
    mark, *_, total, length, start, comment = _read(file, end, _END)
    if mark != 0x06054B50 or comment:
        raise WeightsError(BROKEN)
    wide = _LOCATOR.size <= end and _read(file, end - _LOCATOR.size, _LOCATOR)
    if wide and wide[0] == 0x07064B50:
        end -= _LOCATOR.size + _END64.size
        mark, *_, total, length, start = _read(file, end, _END64)
        if mark != 0x06064B50 or wide[2] != end:
            raise WeightsError(BROKEN)
    if start + length != end or total > MOST or length > DIRECTORY:
        raise WeightsError(BROKEN)


def _read(file: BinaryIO, at: int, fields: struct.Struct) -> tuple[int, ...]:
    if at < 0:
        raise WeightsError(BROKEN)
    file.seek(at)
    return fields.unpack(file.read(fields.size))
