"""The memory that a forward pass takes at its peak, as torch's allocator and as the system count it."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from darknet_py.errors import CfgWarning
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.bench import limits
from tools.bench.made import Setup
from tools.bench.measuring import CLEAR, MB, in_process, memory
from tools.bench.rows import Row, spread


def forward_memory(setup: Setup) -> Iterator[Row]:
    """Peak memory of a forward pass of yolov3, as a multiple of the tensors that have to live at a time."""
    path = setup.find("cfg/yolov3.cfg")
    if path is None:
        yield Row("memory", "peak of yolov3.cfg", None, note="needs cfg/yolov3.cfg of --darknet")
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or else torch's profiler tells when it starts
    for size in (416, 608):
        live = Graph.read(path).resized(size, size).largest_live_set * 4
        peaks = [in_process(inference_peaks, path, size, torch.get_num_threads()) for _ in range(setup.rounds or 3)]
        for name, values in zip(("allocator", "process"), zip(*peaks, strict=True), strict=True):
            title = f"{name} peak / live set, {path.name} {size}"
            if None in values:
                yield Row("memory", title, None, note="needs /proc")
            else:
                yield spread(
                    "memory", title, [v / live for v in values], "x", limits.FORWARD_MEMORY, f"live {live / MB:.1f} MB"
                )


def inference_peaks(path: Path, size: int, threads: int) -> tuple[int, int | None]:
    """Bytes that one forward pass adds, at the most: to torch's tensors and to the process; both with the input."""
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", CfgWarning)
    network = Network(Graph.read(path).resized(size, size)).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as darknet_py.load gives it
    x = torch.rand(1, *network.input_shape.dims)
    held = x.numel() * x.element_size()
    with torch.inference_mode():
        network.layers[0](x[..., :32, :32])  # what the first convolution sets up stays out
        process = None
        if CLEAR.exists():
            before = memory("VmRSS")
            CLEAR.write_text("5", encoding="ascii")  # VmHWM starts again from here
            network(x)
            process = held + memory("VmHWM") - before
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            network(x)
    return held + _allocator_peak(profiler), process


def _allocator_peak(profiler: profile) -> int:
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    return max(accumulate(count for _, count in changes), default=0)
