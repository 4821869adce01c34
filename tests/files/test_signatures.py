"""Files that are no weights are named for what they are, by every verb, whatever they begin with."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from darknet_py import load
from darknet_py.check import check
from darknet_py.cli import main
from darknet_py.convert.inspect import inspect
from darknet_py.errors import WeightsError
from darknet_py.files.signatures import answer_of, kind_of
from darknet_py.network.header import Header

CFG = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilters=2\nsize=1\nactivation=linear\n[avgpool]\n"
LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 248007048\n"
HTML = "<html><head><title>404 Not Found</title></head><body>no</body></html>"


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def zipped(**records: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    return file.getvalue()


def packed(kind: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=kind) as archive:
        archive.addfile(tarfile.TarInfo("yolov2.weights"), io.BytesIO())
    return file.getvalue()


def array(save) -> bytes:
    file = io.BytesIO()
    save(file, np.ones(30, np.float32))
    return file.getvalue()


KINDS = {
    "a Git LFS pointer: run git lfs pull": LFS.encode(),
    "an HTML page": HTML.encode(),
    "XML, the answer of a server": b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>',
    "JSON, the answer of a server": json.dumps({"message": "Not Found", "status": 404}).encode(),
    "gzip; unpack it first": gzip.compress(bytes(100)),
    "bzip2; unpack it first": bz2.compress(bytes(100)),
    "xz; unpack it first": lzma.compress(bytes(100)),
    "lzma; unpack it first": lzma.compress(bytes(100), lzma.FORMAT_ALONE),
    "a tar archive; unpack it first": packed("w"),
    "HDF5, as Keras writes it": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "ONNX": b"\x08\x07\x12\x07pytorch\x1a\x031.4:\xf8\x01" + bytes(100),
    "a TensorFlow SavedModel or Core ML": b"\x08\x01\x12\xa0\x02\x0a\x10" + bytes(100),
    "a TensorFlow graph": b"\x0a\x2c\x0a\x05input\x12\x0bPlaceholder" + bytes(100),
    "a Caffe model": b"\x0a\x07yolo_v2\x12\x05input" + bytes(100),
    "TensorFlow Lite": b"\x1c\x00\x00\x00TFL3" + bytes(100),
    "weights of ncnn (.bin)": b"\x47\x6b\x30\x01" + bytes(100),
    "a network of ncnn (.param)": b"7767517\n75 83\nInput data 0 1 data 0=416\n",
    "a network of Caffe (.prototxt)": b'name: "YOLO"\nlayer {\n  name: "data"\n}\n',
    "a NumPy array (.npy)": array(np.save),
    "a JPEG picture": picture("JPEG"),
    "a PNG picture": picture("PNG"),
    "a GIF picture": picture("GIF"),
    "a BMP picture": picture("BMP"),
    "a TIFF picture": picture("TIFF"),
    "a WebP picture": picture("WEBP"),
    "a cfg: the order is CFG WEIGHTS": b"# tiny\n\n[net]\nbatch=1\n",
    "a .data file": b"classes=3\ntrain=list.txt\n",
    "a text": b"aeroplane\nbicycle\nbird\nboat\n",
}
ZIPS = {
    "NumPy arrays (.npz)": array(np.savez),
    "a zip archive without a state dict": zipped(**{"yolov2.weights": bytes(40)}),
    "a model of Keras": zipped(**{"config.json": b"{}", "model.weights.h5": bytes(40)}),
    "cut short or broken": b"PK\x03\x04" + bytes(40),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.cfg").write_text(CFG, encoding="utf-8")
    return tmp_path


def refused(content: bytes, capsys) -> str:
    """What every way to use the file says of it, in one line."""
    Path("a.weights").write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        load("net.cfg", "a.weights", device="cpu")
    message = str(caught.value)
    assert message.startswith("a.weights: ")
    with pytest.raises(WeightsError) as seen:
        inspect("a.weights")
    assert str(seen.value) == message
    (problem,) = check("net.cfg", "a.weights")
    assert (problem.is_error, f"a.weights: {problem.message}") == (True, message)
    for verb in (["inspect", "a.weights"], ["convert", "net.cfg", "a.weights", "b.pt"]):
        assert main(verb) == 1
        assert capsys.readouterr() == ("", f"darknet-py: {message}\n")
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_have_names(kind, folder, capsys):
    assert refused(KINDS[kind], capsys).startswith(f"a.weights: this is no weights file but {kind}")


@pytest.mark.parametrize("kind", ZIPS)
def test_zip_archives_are_looked_into(kind, folder, capsys):
    assert kind in refused(ZIPS[kind], capsys)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_graphs_of_torch_are_told_from_state_dicts(folder, capsys):
    module = torch.nn.Conv2d(3, 2, 1)
    torch.jit.save(torch.jit.trace(module, torch.ones(1, 3, 2, 2)), "a.ts")
    assert "it is TorchScript" in refused(Path("a.ts").read_bytes(), capsys)
    torch.export.save(torch.export.export(module, (torch.ones(1, 3, 2, 2),)), "a.pt2")
    assert "it is a graph of torch.export (.pt2)" in refused(Path("a.pt2").read_bytes(), capsys)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("before", ["", "\r\n\r\n \t", "\n" * 5000])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LFS, "a Git LFS pointer"),
        (HTML, "an HTML page"),
        ("<!DOCTYPE HTML PUBLIC '-//W3C//DTD'>\n<HTML>", "an HTML page"),
        ("<!-- é -->\n<HTML><BODY>", "an HTML page"),
        ('<?XML version="1.0"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">', "an HTML page"),
        ('<Error xmlns="x"><Code>NoSuchKey</Code></Error>', "XML"),
        ('[{"error": 1}]', "JSON"),
        ("; mine\n [Net]\nbatch=1", "a cfg"),
        ("Quota exceeded, try again tomorrow", "a text"),
    ],
)
def test_what_comes_before_a_text_is_passed_over(text, kind, before, encoding):
    head = (before + text).encode(encoding)
    assert str(kind_of(head)).startswith(kind)
    with pytest.raises(WeightsError, match=f"this is no weights file but {kind}"):
        Header.unpack(head + bytes(50))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (bytes(5000), "it holds nothing but zeros"),
        (b"\xff\xff\xff", "too short for a header"),
        (struct.pack("<iiiQ", 0, 2, 10_000, 0) + bytes(100), "its version would be 0.2.10000"),
        (struct.pack("<iiiQ", 20_000, 2, 0, 0) + bytes(100), "its version would be 20000.2.0"),
        (bytes(range(128, 250)), "its version would be -2088599168"),
        (pickle.dumps([1, 2], 2), "was not written by torch.save"),
    ],
)
def test_headers_that_are_none(content, says, folder, capsys):
    assert says in refused(content, capsys)


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0), (0, 9, 0), (1001, 2, 0), (0, 2002, 0)])
def test_headers_of_darknet_are_no_texts(version):
    header = Header(*version, seen=32013312)
    for rest in (bytes(100), b"\x42" * 100, np.full(20, 48.0, "<f4").tobytes()):
        assert Header.unpack(header.pack() + rest) == header


def test_servers_answers_are_told_from_the_texts_that_are_wanted():
    assert answer_of(LFS.encode()) == "a Git LFS pointer"
    assert answer_of(b"\xef\xbb\xbf\n\n<HTML>") == "an HTML page"
    assert answer_of(b'{"message": "API rate limit exceeded"}') == "JSON, the answer of a server"
    for wanted in (b"[net]\nbatch=1\n", b"person\nbicycle\n", b"classes=80\n", Header().pack() + bytes(80)):
        assert answer_of(wanted) is None
