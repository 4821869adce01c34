"""Record what a Darknet of your own computes: the output of every layer, and a detector's boxes.

Usage::

    python -m tools.record_golden LIBDARKNET.so CFG [WEIGHTS] OUT.npz
        [--seed N | --input NPZ | --image FILE] [--thresh T] [--hier T] [--nms IOU] [--size W H]

The library is one of upstream Darknet; Debian's package darknet has one. OUT.npz has the arrays of
``tests/golden/layers``, and for a detector with ``--image`` or one of the last four options those of
``tests/golden/boxes``. Recurrent layers are recorded for all time steps, where ``tests/golden`` has the first.
Without WEIGHTS the library's own start values are taken, and saved as OUT.weights.

The C structures differ from build to build, so only exported functions are used. A layer that states no
image shape (softmax, rnn, cost, ...) hides its size that way: the cfg is cut after it, a [route] is put at
the end, and what that network predicts is recorded. In a GPU build every layer is cut out, as only the last
output is fetched. The library ends the process on errors and keeps state: each network runs in a process of
its own.

Known faults of the library: a CPU build divides by sqrt(variance) + 1e-6 in batch normalisation, gives no
numbers for a region with a tree, and crashes on [batchnorm]; [crnn] swaps width and height; weights of
[deconvolutional] cannot be loaded.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
CFloats = ctypes.POINTER(ctypes.c_float)

HEADS = {"[region]": 20, "[yolo]": 20, "[detection]": 1}  # and the classes where the cfg states none
REFUSED = 3  # exit code of a pass that this script ended


class RecordError(Exception):
    """Why nothing was recorded, in one line."""


class Image(ctypes.Structure):
    """The C ``image``."""

    _fields_ = (("w", ctypes.c_int), ("h", ctypes.c_int), ("c", ctypes.c_int), ("data", CFloats))


class Detection(ctypes.Structure):
    """The C ``detection``."""

    _fields_ = (
        ("box", ctypes.c_float * 4),
        ("classes", ctypes.c_int),
        ("prob", CFloats),
        ("mask", CFloats),
        ("objectness", ctypes.c_float),
        ("sort_class", ctypes.c_int),
    )


FUNCTIONS: dict[str, Any] = {  # what is called, and what it returns
    "load_network": ctypes.c_void_p,
    "network_inputs": ctypes.c_int,
    "network_outputs": ctypes.c_int,
    "network_width": ctypes.c_int,
    "network_height": ctypes.c_int,
    "network_predict": CFloats,
    "get_network_image_layer": Image,
    "get_network_boxes": ctypes.POINTER(Detection),
    "do_nms_sort": None,
    "load_image_color": Image,
    "letterbox_image": Image,
    "save_weights": None,
}


@dataclass(frozen=True)
class Decoding:
    """How boxes are made from the head; `size` (w, h) is the picture's, None for the network's own."""

    classes: int
    thresh: float
    hier_thresh: float
    nms: float
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Pass:
    """One network, to be run once; `source` is a seed, a picture's path or the input itself."""

    library: str
    cfg: str
    weights: str | None
    source: int | str | Floats
    batch: int
    layers: int = 0
    decoding: Decoding | None = None
    save: str | None = None


def section_type(text: str) -> str:
    """Return the first ``[type]`` line of a text, its blanks removed as Darknet does, or nothing."""
    lines = (re.sub(r"[ \t]", "", line) for line in text.split("\n"))
    return next((line for line in lines if line.startswith("[")), "")


def split_sections(text: str) -> list[str]:
    """Split a cfg into the text of its sections; what stands before the first goes with it."""
    sections: list[list[str]] = [[]]
    started = False
    for line in text.split("\n"):
        if section_type(line):
            if started:
                sections.append([])
            started = True
        sections[-1].append(line)
    return ["\n".join(lines) for lines in sections]


def cut(sections: Sequence[str], index: int) -> str:
    """Return the cfg up to layer `index`, and a [route] that hands on what that layer gives."""
    return "\n".join([*sections[: index + 2], "[route]", "layers=-1", ""])


def cfg_integer(section: str, key: str, default: int) -> int:
    """Read a key as the C program does: the first of equal keys, atoi of its text."""
    for line in section.split("\n"):
        name, equals, value = re.sub(r"[ \t]", "", line).partition("=")
        if equals and name == key:
            number = re.match(r"[+-]?\d{1,9}", value)
            return int(number.group()) if number else 0
    return default


def network_batch(net: str) -> int:
    """Return how many rows of input the network takes at once (parser.c, parse_net_options)."""
    batch, subdivisions, steps = (cfg_integer(net, key, 1) for key in ("batch", "subdivisions", "time_steps"))
    if subdivisions < 1 or batch < subdivisions or steps < 1:
        raise RecordError("batch, subdivisions and time_steps of the cfg leave no rows of input")
    return batch // subdivisions * steps


def layer_name(index: int) -> str:
    """Name the array that holds a layer's output."""
    return f"layer{index:02d}"


def open_library(path: str) -> ctypes.CDLL:
    """Load the library and declare its functions; raises `RecordError` where it is not upstream's."""
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be loaded: {error}") from None
    if hasattr(library, "load_network_custom"):
        raise RecordError(f"{path}: the AlexeyAB tree's library; its functions differ, upstream's is needed")
    for name, result in FUNCTIONS.items():
        if not hasattr(library, name):
            raise RecordError(f"{path}: has no function {name}, as upstream's library has")
        getattr(library, name).restype = result
    return library


def floats(pointer: Any, count: int) -> Floats:
    """Copy `count` floats out of C memory."""
    if not pointer or count < 1:
        raise RecordError(f"the library states {count} values and gives none")
    return np.ctypeslib.as_array(pointer, (count,)).astype(np.float32)


def make_input(job: Pass, library: Any, network: ctypes.c_void_p) -> tuple[Floats, tuple[int, int]]:
    """Return the flat input, and the size (w, h) of the picture it stands for."""
    net_size = (library.network_width(network), library.network_height(network))
    size = job.decoding.size if job.decoding and job.decoding.size else net_size
    count = library.network_inputs(network) * job.batch
    if isinstance(job.source, int):
        return np.random.default_rng(job.source).random(count, dtype=np.float32), size
    if isinstance(job.source, str):
        picture = library.load_image_color(os.fsencode(job.source), 0, 0)
        boxed = library.letterbox_image(picture, *net_size)
        values, size = floats(boxed.data, boxed.w * boxed.h * boxed.c), (picture.w, picture.h)
    else:
        values = job.source
    if values.size != count:
        raise RecordError(f"the input has {values.size} values, the network takes {count}")
    return values, size


def forward(job: Pass) -> Arrays:
    """Run a network once: `input`, `output`, `shapes`, and the layers that can be read in place."""
    library = open_library(job.library)
    weights = os.fsencode(job.weights) if job.weights else None
    network = ctypes.c_void_p(library.load_network(os.fsencode(job.cfg), weights, 0))
    if job.save:
        library.save_weights(network, os.fsencode(job.save))
    values, size = make_input(job, library, network)
    output = library.network_predict(network, values.ctypes.data_as(CFloats))
    found: Arrays = {"input": values, "image_size": np.array(size, dtype=np.int64)}
    found["output"] = floats(output, library.network_outputs(network) * job.batch)
    found["shapes"] = np.zeros((job.layers, 3), dtype=np.int32)
    for index in range(job.layers):
        layer = library.get_network_image_layer(network, index)
        found["shapes"][index] = layer.w, layer.h, layer.c
        if layer.data and not hasattr(library, "forward_network_gpu"):
            found[layer_name(index)] = floats(layer.data, layer.w * layer.h * layer.c * job.batch)
    return found | decode(job.decoding, size, library, network) if job.decoding else found


def decode(how: Decoding, size: tuple[int, int], library: Any, network: ctypes.c_void_p) -> Arrays:
    """Return a row a box, before and after NMS: x, y, w, h, objectness, a score a class.

    The coordinates are relative to the picture; a [detection] head gives them in its pixels.
    """
    count = ctypes.c_int()
    thresholds = ctypes.c_float(how.thresh), ctypes.c_float(how.hier_thresh)
    boxes = library.get_network_boxes(network, *size, *thresholds, None, 1, ctypes.byref(count))
    before = box_rows(boxes, count.value, how.classes)
    if how.nms:
        library.do_nms_sort(boxes, count, how.classes, ctypes.c_float(how.nms))
    return {"before_nms": before, "after_nms": box_rows(boxes, count.value, how.classes)}


def box_rows(boxes: Any, count: int, classes: int) -> Floats:
    """Copy detections into (count, 5 + classes)."""
    rows = [[*boxes[i].box, boxes[i].objectness, *boxes[i].prob[:classes]] for i in range(count)]
    return np.array(rows, dtype=np.float32).reshape(count, 5 + classes)


def child(job: Pass, result: Path, log: Path) -> None:
    """Do one pass in a process of its own: arrays go to `result`, all that is printed to `log`."""
    with log.open("wb") as stream:
        for channel in (1, 2):
            os.dup2(stream.fileno(), channel)
    try:
        found = forward(job)
    except RecordError as error:
        print(error, file=sys.stderr)
        sys.exit(REFUSED)
    result.write_bytes(pack(found))


def run(job: Pass) -> Arrays:
    """Do one pass; raises `RecordError` with the library's last words where it ends early."""
    with tempfile.TemporaryDirectory() as folder:
        result, log = Path(folder, "result.npz"), Path(folder, "log.txt")
        process = multiprocessing.get_context("spawn").Process(target=child, args=(job, result, log))
        process.start()
        process.join()
        code = process.exitcode or 0
        if code or not result.exists():
            words = log.read_text(encoding="latin-1").split("\n") if log.exists() else []
            last = next((line.strip() for line in reversed(words) if line.strip()), "nothing was said")
            end = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise RecordError(last if code == REFUSED else f"{job.library}: ended with {end}: {last}")
        with np.load(result) as found:
            return dict(found)


def record(job: Pass, sections: Sequence[str]) -> Arrays:
    """Record the whole network, and a cut one for each layer that cannot be read in place."""
    whole = run(replace(job, layers=len(sections) - 1))
    found: Arrays = {"input": whole["input"], "shapes": whole["shapes"]}
    for index in range(len(sections) - 1):
        name = layer_name(index)
        found[name] = whole[name] if name in whole else run_cut(job, whole["input"], cut(sections, index))
    if isinstance(job.source, str) or job.decoding:
        found["image_size"] = whole["image_size"]
    if how := job.decoding:
        found |= {name: whole[name] for name in ("before_nms", "after_nms")} | {"head": whole["output"]}
        found |= {name: np.array(getattr(how, name)) for name in ("thresh", "hier_thresh", "nms")}
    return found


def run_cut(job: Pass, values: Floats, text: str) -> Floats:
    """Return what a part of the network gives for the same input and weights."""
    with tempfile.TemporaryDirectory() as folder:
        cfg = Path(folder, "cut.cfg")
        cfg.write_bytes(text.encode("latin-1"))
        return run(Pass(job.library, str(cfg), job.save or job.weights, values, job.batch))["output"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `RecordError`."""

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong with the arguments."""
        raise RecordError(message)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line and check that its files are there."""
    parser = Parser(description="Record what a libdarknet.so computes, layer by layer.")
    parser.add_argument("library", type=Path, help="upstream Darknet's libdarknet.so")
    parser.add_argument("cfg", type=Path)
    parser.add_argument("weights", type=Path, nargs="?", help="left out: the library's start values, saved")
    parser.add_argument("out", type=Path, help="the .npz file to write")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--seed", type=int, default=0, help="of a random input (default 0)")
    source.add_argument("--input", type=Path, metavar="NPZ", help="take the input of another recording")
    source.add_argument("--image", type=Path, metavar="FILE", help="a picture; the library letterboxes it")
    boxes = parser.add_argument_group("boxes", "any of these, or --image, records the boxes of a detector")
    boxes.add_argument("--thresh", type=float, metavar="T", help="default .5")
    boxes.add_argument("--hier", type=float, metavar="T", help="threshold in the class tree (default .5)")
    boxes.add_argument("--nms", type=float, metavar="IOU", help="default .45; 0 for none")
    boxes.add_argument("--size", type=int, nargs=2, metavar=("W", "H"), help="the picture's, without --image")
    args = parser.parse_args(argv)
    if min([args.seed, *(args.size or [])]) < 0:
        raise RecordError("--seed and --size must not be negative")
    for path in (args.library, args.cfg, args.weights, args.input, args.image):
        if path and not path.is_file():
            raise RecordError(f"{path}: no such file")
    if not args.out.parent.is_dir():
        raise RecordError(f"{args.out}: no such folder")
    return args


def plan(args: argparse.Namespace, sections: Sequence[str]) -> Pass:
    """Make the run of the whole network that the command line asks for."""
    if section_type(sections[0]) not in ("[net]", "[network]") or len(sections) == 1:
        raise RecordError(f"{args.cfg}: not a cfg: it must have [net] and a layer")
    decoding, batch = plan_boxes(args, sections[-1]), network_batch(sections[0])
    if batch != 1 and (decoding or args.image):
        raise RecordError(f"{args.cfg}: pictures and boxes are recorded with batch=1 and subdivisions=1")
    source: int | str | Floats = str(args.image) if args.image else args.seed
    if args.input:
        source = read_input(args.input)
    weights = str(args.weights) if args.weights else None
    return Pass(str(args.library.resolve()), str(args.cfg), weights, source, batch, decoding=decoding)


def plan_boxes(args: argparse.Namespace, last: str) -> Decoding | None:
    """Say how boxes are decoded, or None where none are asked for."""
    head = section_type(last)
    asked = any(value is not None for value in (args.thresh, args.hier, args.nms, args.size))
    if head not in HEADS:
        if asked:
            raise RecordError(f"{args.cfg}: no boxes to record: the last section is {head}")
        return None
    if not asked and not args.image:
        return None
    return Decoding(
        classes=cfg_integer(last, "classes", HEADS[head]),
        thresh=0.5 if args.thresh is None else args.thresh,
        hier_thresh=0.5 if args.hier is None else args.hier,
        nms=0.45 if args.nms is None else args.nms,
        size=tuple(args.size) if args.size else None,
    )


def read_input(path: Path) -> Floats:
    """Read the input of a recording."""
    try:
        with np.load(path) as found:
            return np.ascontiguousarray(found["input"], dtype=np.float32).reshape(-1)
    except (OSError, LookupError, TypeError, ValueError, zipfile.BadZipFile):
        raise RecordError(f"{path}: not an .npz file with an array of numbers named input") from None


def pack(arrays: Any) -> bytes:
    """Put a dict of arrays into the bytes of an .npz file."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file beside its place, then rename it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def execute(args: argparse.Namespace) -> str:
    """Record, write the files, and return what to tell the user."""
    sections = split_sections(args.cfg.read_bytes().decode("latin-1"))
    job, start = plan(args, sections), args.out.with_suffix(".weights")
    if not args.weights and start.exists():
        raise RecordError(f"{start}: is where the start values would go; name it as WEIGHTS or move it")
    with tempfile.TemporaryDirectory() as folder:
        if not args.weights:
            job = replace(job, save=str(Path(folder, "start.weights")))
        found = record(job, sections)
        if job.save:
            write(start, Path(job.save).read_bytes())
    write(args.out, pack(found))
    boxes = f", {len(found['before_nms'])} boxes" if "before_nms" in found else ""
    faulty = [name for name, values in found.items() if not np.isfinite(values).all()]
    note = f"; not finite: {', '.join(faulty)}" if faulty else ""
    return f"{args.out}: {len(sections) - 1} layers{boxes}{note}"


def main(argv: Sequence[str] | None = None) -> int:
    """Record, or say in one line why nothing was recorded."""
    try:
        print(execute(parse(argv)))
    except (RecordError, OSError) as error:
        print(f"record_golden: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
