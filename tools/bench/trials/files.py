"""Jobs of the bench of jobs with files: parsing cfgs, loading weights, converting them."""

from __future__ import annotations

import configparser
import re
import shutil
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from darknet_py import cfg, weights
from darknet_py.convert import convert
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.bench.measuring import BenchError, find_cfg, give_back_memory
from tools.bench.peers.runner import needed
from tools.bench.trials.trial import Entrant, Results, Setup, Trial, invited

LAYERS = (10, 100, 1000)
OFFICIAL = ("yolov2-tiny.cfg", "yolov2.cfg", "densenet201.cfg")
MEGABYTES = (10, 50, 200)
STACK = 20  # convolutions in a network of a size
NET = "[net]\nwidth=32\nheight=32\nchannels={channels}\n"
CONVOLUTION = (
    "\n[convolutional]\nbatch_normalize=1\nfilters={filters}\nsize=3\nstride=1\npad=1\nactivation=leaky\n"  # as usual
)


def parsing(setup: Setup) -> Iterator[Trial]:
    """Reading cfgs of 10, 100 and 1000 layers, or official ones."""
    for place, layers in enumerate(LAYERS):
        path = setup.folder / f"{layers}.cfg"
        if setup.darknet is None:
            path.write_text(NET.format(channels=3) + layers * CONVOLUTION.format(filters=16), encoding="utf-8")
        else:
            path = find_cfg(OFFICIAL[place], setup.darknet)
        ours = [
            Entrant("cfg.read", partial(cfg.read, path)),
            Entrant("Graph.read", partial(Graph.read, path), note="checks keys, works out shapes"),
            Entrant("configparser", partial(by_configparser, path), "cfg.read", note="strings alone, no lines of them"),
        ]
        others, absent = invited("OpenCV", partial(opencv, path))
        sections = len(cfg.read(path))
        yield Trial(f"{path.name}, {sections} sections", sections, [*ours, *others], same_sections, absent)


def by_configparser(path: Path) -> configparser.ConfigParser:
    """Python's own reader, for which every section needs a name of its own."""
    number = count()
    text = re.sub(r"(?m)^\[(\w+)\]", lambda match: f"[{next(number)} {match[1]}]", path.read_text(encoding="utf-8"))
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(text)
    return parser


def opencv(path: Path) -> Entrant:
    """OpenCV, which makes its network of a cfg; raises `BenchError` where it cannot."""
    dnn = getattr(needed("cv2"), "dnn", None)
    read = getattr(dnn, "readNetFromDarknet", None)
    if read is None:
        raise BenchError("this OpenCV reads no Darknet files; those before 5 do")
    try:
        read(str(path))
    except needed("cv2").error as error:
        raise BenchError(f"OpenCV does not read it: {error.err}") from error
    return Entrant("OpenCV", partial(read, str(path)), "Graph.read", note="makes its layers too")


def same_sections(results: Results) -> str:
    """Whether both readers found the same sections and entries; one that is there twice counts once."""
    ours = [(section.type, {entry.key.lower() for entry in section.entries}) for section in results["cfg.read"]]
    parser = results["configparser"]
    theirs = [(name.partition(" ")[2], set(parser[name])) for name in parser.sections()]
    return "cfg.read and configparser found the same keys" if ours == theirs else "cfg.read and configparser DIFFER"


def stack(setup: Setup, size: int) -> tuple[Graph, Path]:
    """A network of so many megabytes, its cfg and its weights."""
    filters = max(1, round((setup.amount(size * 1_000_000) / (4 * 9 * STACK)) ** 0.5))
    path = setup.folder / f"{size}MB.cfg"
    path.write_text(NET.format(channels=filters) + STACK * CONVOLUTION.format(filters=filters), encoding="utf-8")
    graph = Graph.read(path)
    file = path.with_suffix(".weights")
    if not file.exists():
        values = np.random.default_rng(0).random((weights.expected_bytes(graph)[0] - 20) // 4, np.float32)
        file.write_bytes(weights.Header().pack() + values.tobytes())
    return graph, file


def fresh(graph: Graph) -> Network:
    """A network whose memory nobody has used yet."""
    give_back_memory()
    return Network(graph, initialize=False)


def loading(setup: Setup) -> Iterator[Trial]:
    """Weights into a new network, from files that are in the system's cache."""
    for size in MEGABYTES:
        graph, file = stack(setup, size)
        network = Network(graph, initialize=False)
        weights.load(network, file)
        torch.save(network.state_dict(), file.with_suffix(".pt"))
        save_file(network.state_dict(), file.with_suffix(".safetensors"))
        new = partial(fresh, graph)
        entrants = [
            Entrant("weights.load", partial(from_darknet, file), prepare=new),
            Entrant("np.fromfile", partial(np.fromfile, file, np.float32), "weights.load", note="the bytes alone"),
            Entrant("torch.load", partial(from_torch, file.with_suffix(".pt")), "weights.load", new),
            Entrant("safetensors", partial(from_safetensors, file.with_suffix(".safetensors")), "weights.load", new),
        ]
        megabytes = file.stat().st_size / 1e6
        yield Trial(f"{megabytes:.3g} MB", megabytes, entrants, same_networks)


def from_darknet(path: Path, network: Network) -> Network:
    """Load a .weights file."""
    weights.load(network, path)
    return network


def from_torch(path: Path, network: Network) -> Network:
    """Load a state dict of torch.save."""
    network.load_state_dict(torch.load(path, weights_only=True))
    return network


def from_safetensors(path: Path, network: Network) -> Network:
    """Load a state dict of safetensors."""
    network.load_state_dict(load_file(path))
    return network


def same_networks(results: Results) -> str:
    """Whether all networks hold the same values."""
    first, *others = (results[name].state_dict() for name in ("weights.load", "torch.load", "safetensors"))
    same = all(torch.equal(value, other[key]) for other in others for key, value in first.items())
    return "all networks hold the same values" if same else "the networks DIFFER"


def converting(setup: Setup) -> Iterator[Trial]:
    """A .weights file to safetensors, without the proof."""
    for size in MEGABYTES:
        graph, file = stack(setup, size)
        network = Network(graph, initialize=False)
        weights.load(network, file)
        ours, theirs, copy = (file.with_suffix(f".{name}.safetensors") for name in ("ours", "theirs", "copy"))
        write = partial(convert, graph.source, file, check=False)
        save = partial(save_file, network.state_dict())
        entrants = [
            Entrant("convert", write, prepare=partial(gone, ours), note="reads, then writes"),
            Entrant("save_file", save, "convert", partial(gone, theirs), "writes alone"),
            Entrant("copy", partial(shutil.copyfile, file), "convert", partial(gone, copy), "the bytes alone"),
        ]
        megabytes = file.stat().st_size / 1e6
        yield Trial(f"{megabytes:.3g} MB", megabytes, entrants, partial(same_files, ours, theirs))


def gone(path: Path) -> Path:
    """The path of a file that is there no more, so that everybody writes a new one."""
    path.unlink(missing_ok=True)
    return path


def same_files(ours: Path, theirs: Path, _results: Results) -> str:
    """Whether two safetensors files hold the same values, whatever their names."""
    both = ours, theirs
    mine, plain = (sorted(load_file(path).values(), key=lambda t: (t.numel(), t.sum().item())) for path in both)
    same = len(mine) == len(plain) and all(map(torch.equal, mine, plain))
    return "both files hold the same tensors" if same else "the tensors of the files DIFFER"
