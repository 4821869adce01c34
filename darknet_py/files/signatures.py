"""Recognises files that hold no weights by their first bytes."""

from __future__ import annotations

import re
from typing import Final

HEAD: Final = 1 << 16  # bytes that are looked at
LFS: Final = "a Git LFS pointer: run git lfs pull to get the file"
HTML: Final = "an HTML page: the download went wrong"
ANSWER: Final = "the answer of a server: the download went wrong"
UNPACK: Final = "unpack it first"
VALUES: Final = "convert takes .weights, .pt and .safetensors: give the file it was made from"
_NO_TEXT: Final = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_SAFETENSORS: Final = rb"(?s:.{4})\x00\x00\x00\x00\{"
_BYTES: Final = {
    rb"PK\x03\x04|PK\x05\x06|PK\x07\x08": f"a zip archive; {UNPACK}",
    rb"\x1f\x8b": f"gzip; {UNPACK}",
    rb"\x1f[\x9d\xa0]": f"compressed by compress; {UNPACK}",
    rb"BZh[1-9]": f"bzip2; {UNPACK}",
    rb"\xfd7zXZ\x00": f"xz; {UNPACK}",
    rb"\x5d\x00\x00[\x00-\xff]{2}\xff\xff": f"lzma; {UNPACK}",
    rb"\x28\xb5\x2f\xfd": f"zstd; {UNPACK}",
    rb"\x04\x22\x4d\x18": f"lz4; {UNPACK}",
    rb"7z\xbc\xaf\x27\x1c": f"a 7z archive; {UNPACK}",
    rb"Rar!\x1a\x07": f"a RAR archive; {UNPACK}",
    rb"(?s:.{257})ustar": f"a tar archive; {UNPACK}",
    rb"\x89HDF\r\n\x1a\n": f"HDF5, as Keras writes it; {VALUES}",
    rb"\x80[\x02-\x05]": "a pickle",
    _SAFETENSORS: "safetensors",
    rb"\x93NUMPY": "a NumPy array (.npy)",
    rb"\x08\x01\x12": f"a TensorFlow SavedModel or Core ML; {VALUES}",
    rb"\x08[\x02-\x1f][\x12\x1a\x22\x3a\x42\x4a]": f"ONNX; {VALUES}",
    rb"(?s:\x0a.[\x01-\x7f]?\x0a.)[\w/.:-]+\x12": f"a TensorFlow graph; {VALUES}",
    rb"(?s:\x0a.)[\w .-]{2,}[\x12\xa2]": f"a Caffe model; {VALUES}",
    rb"(?s:.{4})TFL3": f"TensorFlow Lite; {VALUES}",
    rb"\x47\x6b\x30\x01": f"weights of ncnn (.bin); {VALUES}",
    rb"GGUF|ggml|lmgg|tjgg": f"GGUF; {VALUES}",
    rb"\x12\x01\x00\x00\x00\x00\x00\x00": f"parameters of MXNet; {VALUES}",
    rb"f?ptrt": f"an engine of TensorRT; {VALUES}",
    rb"MATLAB 5.0": "a MATLAB file",
    rb"\xff\xd8\xff": "a JPEG picture",
    rb"\x89PNG\r\n": "a PNG picture",
    rb"GIF8[79]a": "a GIF picture",
    rb"BM(?s:.{4})\x00\x00\x00\x00": "a BMP picture",
    rb"II\*\x00|MM\x00\*": "a TIFF picture",
    rb"8BPS": "a PSD picture",
    rb"RIFF(?s:.{4})WEBP": "a WebP picture",
    rb"RIFF(?s:.{4})AVI |(?s:.{4})ftyp|\x1aE\xdf\xa3": "a video or picture",
    rb"%PDF": "a PDF",
    rb"SQLite format 3\x00": "a database of SQLite",
    rb"\x7fELF|MZ\x90|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe": "a program",
}  # the most certain signatures first
_TEXTS: Final = {
    r"version https://(git-lfs|hawser)\.": LFS,
    r"<\?xml.*<html|<!doctype\s+html|<(html|head|body|script|title|meta|center|h1|div|p|br|a|pre|table)\b": HTML,
    r"<!--.*<html": HTML,
    r"<\?xml|<!doctype|<[a-z_]": f"XML, {ANSWER}",
    r'\{\s*("|\}|$)|\[\s*(\{|"|\])': f"JSON, {ANSWER}",
    r"7767517\s": f"a network of ncnn (.param); {VALUES}",
    r"(\s*[#;][^\n]*\n)*\s*\[[a-z0-9_]+\]": "a cfg: the order is CFG WEIGHTS",
    r'(name|input)\s*:\s*"|layers?\s*\{': "a network of Caffe (.prototxt)",
    r"(classes|train|valid|names|backup)\s*=": "a .data file",
}


def kind_of(head: bytes) -> str | None:
    """What a file with these first bytes is, and what to do about it; None if they say nothing.

    Only for files that are known to hold no weights: some of the signatures are two bytes long.
    """
    kind = next((kind for mark, kind in _BYTES.items() if re.match(mark, head)), None)
    if kind is None and (text := text_of(head)):
        return next((kind for mark, kind in _TEXTS.items() if re.match(mark, text, re.DOTALL)), "a text")
    return kind


def answer_of(head: bytes) -> str | None:
    """What a server or git sent instead of a file: a page, an error, a pointer. None for anything else."""
    kind = kind_of(head) or ""
    return kind.partition(":")[0] if kind in (LFS, HTML) or ANSWER in kind else None


def text_of(head: bytes) -> str:
    """The text at the start of a file, in lower case and without leading blanks; empty if it is not text.

    In UTF-8, UTF-16, UTF-32 or an older encoding, with a byte order mark or without one.
    """
    bare = re.sub(rb"^(\xef\xbb\xbf|\xff\xfe|\xfe\xff|\x00\x00\xfe\xff)+", b"", head)
    plain = bare.partition(b"\0\0\0\0")[0].replace(b"\0", b"")
    start = plain[:512]
    if not start or _NO_TEXT.search(start):
        return ""
    if len(re.findall(rb"[\x20-\x7e\s]", start)) * 4 < len(start) * 3:  # most letters of such texts are plain
        return ""
    return plain.decode("utf-8", errors="replace").strip().lower() or " "


def is_archive(head: bytes) -> bool:
    """Whether a file begins like those of torch.save: as a zip archive, or in old files as a pickle."""
    return head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins like a .safetensors file: with the length of a JSON text, and its bracket."""
    return re.match(_SAFETENSORS, head) is not None
