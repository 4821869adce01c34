"""`detector demo`: boxes in the frames of a video or of a camera."""

from __future__ import annotations

import json
import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darknet_py.cli.options import (
    Verb,
    count,
    data_arguments,
    decoding_arguments,
    device_arguments,
    engine_argument,
    load_model,
    natural,
    option,
    switch,
    thresh_argument,
)
from darknet_py.cli.output import bar, raw
from darknet_py.cli.results import detection_lines, drawing
from darknet_py.errors import DarknetError

if TYPE_CHECKING:
    from darknet_py.pictures.camera import Camera
    from darknet_py.pictures.video import VideoReader, VideoWriter
    from darknet_py.predict.detector import Detector
    from darknet_py.predict.frames import Seen

CLEAR = "\033[2J\033[1;1H"  # as the C program does before each frame, but only on a terminal


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("data", metavar="DATA", help="the .data file, which names the classes")
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("video", metavar="VIDEO", nargs="?", help="a file or URL; without, a camera (needs OpenCV)")
    option(parser, "c", natural, 0, "which camera (default: 0)")
    thresh_argument(parser, 0.5)
    decoding_arguments(parser, nms=0.4)
    option(parser, "avg", count, 3, "frames whose outputs are averaged (default: 3)", "avgframes")
    option(parser, "frame_skip", natural, 0, "frames to skip after each (default: 0)", "s")
    option(parser, "time_limit_sec", count, None, "end after this many seconds")
    text = "a video to draw into: .mp4, .avi, .mkv, .mov or .webm"
    parser.add_argument("-out", "--out", "-out_filename", "--out_filename", metavar="FILE", dest="out", help=text)
    option(parser, "prefix", str, None, "draw into pictures PREFIX_00000000.jpg, one per frame")
    option(parser, "batch", count, None, "frames of a file that are computed together")
    device_arguments(parser)
    data_arguments(parser)
    engine_argument(parser)
    switch(parser, "json", "print one JSON object per frame")
    switch(parser, "show", "show it in a window (needs OpenCV with windows); Escape ends")
    switch(parser, "ext_output", "print where the boxes are, in pixels")
    switch(parser, "dontdraw_bbox", "write and show the frames without boxes")


def _run(args: Namespace) -> int:
    from darknet_py.cfg import read_data

    data = read_data(args.data)
    if args.out and args.video and Path(args.out).resolve() == Path(args.video).resolve():
        raise DarknetError(f"{args.out} is the video that is read; choose another name for the new one")
    model = load_model(args, data)
    detector = replace(model.detector, as_printed=not args.json)
    from darknet_py.boxes.suppress import Nms
    from darknet_py.pictures.camera import Camera
    from darknet_py.pictures.video import VideoReader, VideoWriter
    from darknet_py.predict.decode import Settings
    from darknet_py.predict.frames import detect_frames

    with ExitStack() as stack:
        source: Camera | VideoReader = Camera(args.c) if args.video is None else VideoReader(args.video)
        stack.enter_context(source)
        step = args.frame_skip + 1
        writer = None
        if args.out is not None:
            writer = stack.enter_context(VideoWriter(args.out, source.size, source.rate / step))
        live = args.video is None or "://" in args.video
        seen = detect_frames(
            detector,
            islice(source, 0, None, step),
            Settings(args.thresh, args.hier),
            Nms("objectness", args.nms),
            average=args.avg,
            batch=args.batch or model.batch,
            live=live,
        )
        output = _Output(args, detector, source.path, writer)
        frames = -(-source.frames // step) if source.frames else None
        with closing(seen):
            for one in _progress(seen, frames):
                if not output.give(one):
                    break
    return 0


def _progress(seen: Iterator[Seen], frames: int | None) -> Iterator[Seen]:
    """The frames, with a bar if stderr is a terminal that shows nothing else."""
    yield from bar(seen, total=frames, unit="frame", disable=True if sys.stdout.isatty() else None)


class _Output:
    """Prints, draws, writes and shows detections."""

    def __init__(self, args: Namespace, detector: Detector, path: str, writer: VideoWriter | None) -> None:
        self.args, self.detector, self.path, self.writer = args, detector, path, writer
        self.start, self.count = time.monotonic(), 0
        self.clear = CLEAR if sys.stdout.isatty() else ""

    def give(self, one: Seen) -> bool:
        """Handle one frame; False if no more are wanted."""
        if self.args.json:
            print(json.dumps(self.record(one)), flush=True)
        else:
            rate = (self.count + 1) / max(time.monotonic() - self.start, 1e-9)
            raw(sys.stdout).write(self.clear)
            print(f"\nFPS:{rate:.1f}\nObjects:\n")
            for line in detection_lines(one.found, boxes=self.args.ext_output):
                print(line)
            sys.stdout.flush()
        goes_on = self.draw(one)
        self.count += 1
        return goes_on and time.monotonic() - self.start < (self.args.time_limit_sec or math.inf)

    def record(self, one: Seen) -> dict[str, Any]:
        """The frame's detections for JSON."""
        width, height = one.found.image_size
        return {
            "filename": self.path, "frame": one.frame.index, "time": one.frame.time, "width": width, "height": height,
            "objects": one.found.to_dicts(), "seconds": one.seconds,
        }  # fmt: skip

    def draw(self, one: Seen) -> bool:
        """Write and show the frame with its boxes, if asked for."""
        if self.writer is None and self.args.prefix is None and not self.args.show:
            return True
        from darknet_py.pictures.camera import show
        from darknet_py.pictures.files import save

        drawn = drawing(one.frame.image, one.found, self.detector, boxes=not self.args.dontdraw_bbox)
        if self.writer is not None:
            self.writer.write(drawn)
        if self.args.prefix is not None:
            save(drawn, f"{self.args.prefix}_{self.count:08d}.jpg")
        return show(drawn, "Demo") if self.args.show else True


VERBS = {"detector demo": Verb("find and draw boxes in a video", _arguments, _run)}
