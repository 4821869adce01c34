"""Measure what darknet_py costs: reading cfgs, loading weights, memory, decoding, start.

Usage::

    python -m tools.bench.costs [--darknet DIR] [--cfg FILE ...] [--only COST ...] [--rounds N] [--threads N]
        [--json] [--check]

What is compared is measured side by side: once to warm up, then in turn, round after round; ratios and differences are
those of each round. A line gives the median, the quartiles, and for most the limit that the project has set itself.
Weights are random numbers in a file of the right size. `--darknet` is a checkout of Darknet: its cfg/ and data/ come
before those of this repository, and yolov3 is measured only with it. `--check` exits with 1 where a limit does not
hold. Other work on the machine spoils the numbers, so its load is stated too.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from darknet_py import cfg, weights
from darknet_py.cfg import find_file
from darknet_py.convert import convert
from darknet_py.decode import Settings
from darknet_py.detect import Detector
from darknet_py.errors import CfgWarning, DarknetError
from darknet_py.graph import Graph
from darknet_py.layers.region import Region
from darknet_py.network import Network
from tools.bench.measuring import (
    ROOT,
    STATUS,
    BenchError,
    Line,
    command,
    environment,
    excess,
    give_back_memory,
    in_process,
    memory,
    milliseconds,
    output_of,
    ratio,
    sample,
    spread,
    table,
    timed,
)

CLEAR = Path("/proc/self/clear_refs")
LONGEST = ("densenet201.cfg", "resnext152-32x4d.cfg")  # of Darknet's cfgs
TREE_LEVELS, TREE_GROUP = 17, 5  # a made tree: its levels and the children of one parent, as 9k.tree's
THRESH, HIER, NMS = 0.005, 0.5, 0.45  # as `detector valid`
PICTURE = (768, 576)
MB = 1e6
LOAD = (
    "from darknet_py import Graph, Network, weights; "
    "weights.load(Network(Graph.read(sys.argv[1]), initialize=False), sys.argv[2])"
)
CONVERT = "from darknet_py.convert import convert; convert(*sys.argv[1:], check=False)"


@dataclass(frozen=True)
class Setup:
    """Where files come from and where made ones go; `rounds` None takes each cost's own number."""

    darknet: Path | None
    cfgs: Sequence[Path]
    folder: Path
    rounds: int | None = None

    def find(self, name: str) -> Path | None:
        """A file of the Darknet checkout, or else of this repository."""
        places = (self.darknet, ROOT) if self.darknet else (ROOT,)
        return next((place / name for place in places if (place / name).is_file()), None)

    def graph(self, name: str) -> Graph:
        """The graph of a cfg that this repository has."""
        return Graph.read(self.find(f"cfg/{name}") or ROOT / "cfg" / name)

    def weights(self, graph: Graph) -> Path:
        """A weights file of random numbers, made once."""
        path = self.folder / f"{Path(graph.source).stem}.weights"
        if not path.exists():
            count = (weights.expected_bytes(graph)[0] - weights.Header().size) // 4
            values = np.random.default_rng(0).random(count, np.float32)
            with path.open("wb") as file:
                file.write(weights.Header().pack())
                file.write(values.astype("<f4", copy=False).data)
        return path


def parsing(setup: Setup) -> Iterator[Line]:
    """Reading cfgs, after import; Graph.read parses too."""
    found = (setup.find(f"cfg/{name}") for name in ("yolov2.cfg", *LONGEST))
    for path in dict.fromkeys((*(path for path in found if path), *setup.cfgs)):
        limit = 20 if path.name == "yolov2.cfg" else 150
        works = {"cfg.read": timed(partial(cfg.read, path)), "Graph.read": timed(partial(Graph.read, path))}
        for name, seconds in sample(works, setup.rounds or 15).items():
            yield milliseconds("parse", f"{name} {path.name}", seconds, limit)


def loading(setup: Setup) -> Iterator[Line]:
    """Loading weights of yolov2's size, against reading the same cached file into memory."""
    graph = setup.graph("yolov2.cfg")
    path = setup.weights(graph)
    used = Network(graph, initialize=False)

    def load_new() -> float:
        give_back_memory()  # what earlier rounds freed is not to come back as memory that is ready for use
        network = Network(graph, initialize=False)
        return timed(lambda: weights.load(network, path))()

    works = {
        "np.fromfile": timed(lambda: np.fromfile(path, np.float32)),
        "load, new network": load_new,
        "load, network used before": timed(lambda: weights.load(used, path)),
        "open().read()": timed(path.read_bytes),
    }
    if cat := shutil.which("cat"):
        works["cat"] = command(cat, str(path))
    found = sample(works, setup.rounds or 11)
    for name, seconds in found.items():
        yield milliseconds("load", name, seconds)
    for name, limit in (("load, new network", 1.5), ("load, network used before", None)):
        yield ratio("load", f"{name} / np.fromfile", found[name], found["np.fromfile"], limit)


def loading_memory(setup: Setup) -> Iterator[Line]:
    """Peak memory of a process that loads weights of yolov2's size, beyond one that has only imported torch."""
    if not STATUS.is_file():
        yield Line("load-memory", "peak of loading", None, note="needs /proc")
        return
    graph = setup.graph("yolov2.cfg")
    path = setup.weights(graph)
    show = f"print(open({str(STATUS)!r}).read())"
    idle, load = f"import torch; {show}", f"import sys, torch; {LOAD}; {show}"
    beyond = []
    for _ in range(setup.rounds or 3):
        before = memory("VmRSS", output_of(sys.executable, "-c", idle))
        after = memory("VmHWM", output_of(sys.executable, "-c", load, graph.source, str(path)))
        beyond.append((after - before) / MB)
    parameters = weights.expected_bytes(graph)[0] / MB
    yield spread("load-memory", "peak beyond idle torch", beyond, "MB")
    yield spread("load-memory", "the same less parameters", [value - parameters for value in beyond], "MB", 64)


def converting(setup: Setup) -> Iterator[Line]:
    """Weights of yolov2's size to safetensors and back, without the check, against copying the file and back."""
    graph = setup.graph("yolov2.cfg")
    path = setup.weights(graph)
    there, back = setup.folder / "there.safetensors", setup.folder / "back.weights"

    def convert_both() -> None:
        convert(graph.source, path, there, check=False)
        convert(graph.source, there, back, check=False)

    def copy_both() -> None:
        shutil.copyfile(path, there)
        shutil.copyfile(there, back)

    found = sample({"copy and back": timed(copy_both), "convert and back": timed(convert_both)}, setup.rounds or 5)
    for name, seconds in found.items():
        yield milliseconds("convert", name, seconds)
    yield ratio("convert", "convert / copy", found["convert and back"], found["copy and back"], 2)
    if STATUS.is_file():
        show = f"print(open({str(STATUS)!r}).read())"
        before = memory("VmRSS", output_of(sys.executable, "-c", f"import torch; {show}"))
        after = memory("VmHWM", output_of(sys.executable, "-c", f"import sys, torch; {CONVERT}; {show}", *map(str, (
            graph.source, path, there))))  # fmt: skip
        parameters = weights.expected_bytes(graph)[0]
        yield spread("convert", "peak beyond idle torch / parameters", [(after - before) / parameters], "x", 2)


def inference_memory(setup: Setup) -> Iterator[Line]:
    """Peak memory of a forward pass of yolov3, as a multiple of the tensors that have to live at a time."""
    path = setup.find("cfg/yolov3.cfg")
    if path is None:
        yield Line("memory", "peak of yolov3.cfg", None, note="needs cfg/yolov3.cfg of --darknet")
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or else torch's profiler tells when it starts
    for size in (416, 608):
        live = Graph.read(path).resized(size, size).largest_live_set * 4
        peaks = [in_process(inference_peaks, path, size, torch.get_num_threads()) for _ in range(setup.rounds or 3)]
        for name, values in zip(("allocator", "process"), zip(*peaks, strict=True), strict=True):
            title = f"{name} peak / live set, {path.name} {size}"
            if None in values:
                yield Line("memory", title, None, note="needs /proc")
            else:
                yield spread("memory", title, [v / live for v in values], "x", 1.3, f"live {live / MB:.1f} MB")


def decoding(setup: Setup) -> Iterator[Line]:
    """Decoding and NMS as a share of the forward pass."""
    yield from _decoding(setup.graph("yolov2.cfg").resized(608, 608), setup.rounds or 7)
    yield from _decoding(tree_graph(setup), setup.rounds or 7)


def _decoding(graph: Graph, rounds: int) -> Iterator[Line]:
    rng = torch.Generator().manual_seed(0)
    network = Network(graph, generator=rng).eval()
    detector, settings = Detector(network), Settings(THRESH, HIER)
    picture = torch.rand(1, *graph.input_shape.dims, generator=rng)
    name = f"{Path(graph.source).name} {graph.input_shape.w}"
    forward = torch.inference_mode()(partial(network.heads, picture))
    outputs = {
        "as trained": made_output(network, rng, -6, 4),  # few boxes are sure, and of few classes
        "random weights": forward()[0][0],
        "every box": made_output(network, rng, 16, 1 / 8),  # is of every class, where there are not too many
    }
    works = {"forward": timed(forward)}
    for case, output in outputs.items():
        works[case] = timed(partial(detector.decode, [output], PICTURE, settings, NMS))
    found = sample(works, rounds)
    for case, seconds in found.items():
        yield milliseconds("decode", f"{name}, {case}", seconds)
    for case, output in outputs.items():
        before, after = (len(detector.decode([output], PICTURE, settings, nms)) for nms in (0, NMS))
        line = ratio("decode", f"{name}, {case} / forward", found[case], found["forward"], 5, percent=True)
        yield replace(line, note=f"{before} candidates, {after} left")


def made_output(network: Network, rng: torch.Generator, objectness: float, sharpness: float) -> Tensor:
    """What a region head makes of normal numbers: objectness about its value, classes times their sharpness."""
    (head,) = network.graph.heads
    layer, (c, h, w) = head.layer, head.shape
    if not isinstance(layer, Region):
        raise BenchError(f"{network.graph.source}: a cfg that ends in [region] was expected")
    x = torch.randn(1, c, h, w, generator=rng)
    _, box, scale, classes = x.view(layer.num, layer.entries, h, w).split((2, layer.coords - 2, 1, layer.classes), 1)
    box /= 4
    scale.mul_(2).add_(objectness)
    classes *= sharpness
    output: Tensor = network.layers[head.index](x)[0]
    return output


def starting(setup: Setup) -> Iterator[Line]:
    """Time of short commands beyond that of Python or of torch alone."""
    python = sys.executable
    program = (python, "-m", "darknet_py")
    empty, idle, summary = "python -c pass", "python -c 'import torch'", "summary yolov2.cfg"
    works = {
        empty: command(python, "-c", "pass"),
        "--help": command(*program, "--help"),
        "--version": command(*program, "--version"),
        "wrong argument": command(*program, "detector", "test", "--wrong", code=2),
        idle: command(python, "-c", "import torch"),
        summary: command(*program, "summary", setup.graph("yolov2.cfg").source),
    }
    found = sample(works, setup.rounds or 9)
    for name in (empty, idle):
        yield milliseconds("start", name, found[name])
    for name in ("--help", "--version", "wrong argument"):
        yield excess("start", f"{name}, beyond {empty}", found[name], found[empty], 200)
    yield excess("start", f"{summary}, beyond {idle}", found[summary], found[idle], 300)


COSTS: Mapping[str, Callable[[Setup], Iterator[Line]]] = {
    "parse": parsing,
    "load": loading,
    "load-memory": loading_memory,
    "convert": converting,
    "memory": inference_memory,
    "decode": decoding,
    "start": starting,
}


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


def tree_graph(setup: Setup) -> Graph:
    """YOLO9000's graph; where its tree is not found, with a made one of as many nodes."""
    graph = setup.graph("yolo9000.cfg")
    layer = graph.heads[0].layer
    if not isinstance(layer, Region) or layer.tree is None or find_file(layer.tree, graph.source).exists():
        return graph
    level = -(-layer.classes // TREE_LEVELS)
    parents = (n // level * level - level + n % level // TREE_GROUP for n in range(level, layer.classes))
    lines = (f"n{n} {parent}\n" for n, parent in enumerate((*[-1] * level, *parents)))
    (setup.folder / "made.tree").write_text("".join(lines), encoding="utf-8")
    text = re.sub(r"(?m)^\s*tree\s*=.*$", "tree=made.tree", Path(graph.source).read_text(encoding="utf-8"))
    return Graph.parse(text, str(setup.folder / "yolo9000.cfg"))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; gives the exit code."""
    parser = argparse.ArgumentParser(description="Measure what darknet_py costs.")
    parser.add_argument("--darknet", type=Path, metavar="DIR", help="a checkout of Darknet, for its cfg/ and data/")
    parser.add_argument("--cfg", type=Path, nargs="+", default=[], metavar="FILE", help="more cfgs to parse")
    parser.add_argument("--only", choices=COSTS, nargs="+", default=list(COSTS), help="the costs to measure")
    parser.add_argument("--rounds", type=int, help="rounds of each cost (default: 3 to 15)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a limit does not hold")
    args = parser.parse_args(argv)
    if args.rounds is not None and args.rounds < 1:
        parser.error("--rounds starts at 1")
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        lines = measure(args)
    except (BenchError, DarknetError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"environment": environment(), "lines": [line.as_dict() for line in lines]}, indent=2))
    else:
        print("\n".join(f"{name}: {value}" for name, value in environment().items()))
        print(table(lines))
    return 1 if args.check and any(line.holds is False for line in lines) else 0


def measure(args: argparse.Namespace) -> list[Line]:
    """The lines of the costs that were asked for."""
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="darknet-bench-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", CfgWarning)
        darknet = args.darknet.resolve() if args.darknet else None
        setup = Setup(darknet, [path.resolve() for path in args.cfg], Path(folder), args.rounds)
        for cost in args.only:
            print(f"measuring {cost} ...", file=sys.stderr, flush=True)
            lines += COSTS[cost](setup)
    return lines


if __name__ == "__main__":
    sys.exit(main())
