"""The start of training: the network and its weights, the run to resume, the pictures."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from darknet_py import weights
from darknet_py.cfg import DataFile
from darknet_py.cli.options import partial_of
from darknet_py.data import ClassifierData, DetectionData, PictureData
from darknet_py.network.graph import Graph
from darknet_py.network.module import Network
from darknet_py.train import Checkpoint, TrainSettings, base_name, resume_beside
from darknet_py.train.advice import advice, differences

Tell = Callable[[str], None]


def folder_of(args: Namespace, data: DataFile) -> Path:
    """The folder for weights."""
    return Path(args.backup) if args.backup else data.path("backup") or Path("backup")


@dataclass(frozen=True, eq=False)
class Start:
    """The network at the start of a run, and the run to resume."""

    network: Network
    checkpoint: Checkpoint | None
    seed: int

    @classmethod
    def of(cls, args: Namespace, graph: Graph, folder: Path, tell: Tell) -> Start:
        """Build the network and load its weights, unless they come from a checkpoint."""
        checkpoint = _checkpoint(args, graph, folder, tell)
        seed = args.seed or 0
        if checkpoint is not None:
            if args.seed not in {None, checkpoint.seed}:
                tell(f"the run goes on with its own seed, {checkpoint.seed}")
            network, seed = Network(graph, initialize=False), checkpoint.seed
            tell(f"going on from {checkpoint.path}")
            return cls(network, checkpoint, seed)
        generator = torch.Generator().manual_seed(seed)
        if args.weights:
            reading = weights.Reading(partial=partial_of(args))
            network, _ = weights.made(graph, args.weights, reading, generator=generator)
            tell(f"starting from {args.weights}")
        else:
            network = Network(graph, generator=generator)
        if args.clear:
            network.seen = 0
        return cls(network, None, seed)


def _checkpoint(args: Namespace, graph: Graph, folder: Path, tell: Tell) -> Checkpoint | None:
    """The run to resume: with --resume that of this folder, or the one of which WEIGHTS is a backup."""
    if args.resume:
        path = resume_beside(folder / f"{base_name(graph)}.backup")
        if path.exists():
            return Checkpoint.read(path)
        tell(f"there is no {path} to resume from: this run starts anew")
        return None
    if args.clear or not args.weights or not args.weights.endswith(".backup"):
        return None
    path = resume_beside(args.weights)
    if not path.exists():
        return None
    checkpoint = Checkpoint.read(path)
    if Path(args.weights).exists() and not checkpoint.belongs_to(args.weights):
        tell(f"{path} is not of {args.weights}: momentum starts from 0")
        return None
    return checkpoint


def advise(graph: Graph, settings: TrainSettings, tell: Tell) -> None:
    """Print advice about settings of the cfg."""
    drawn, chosen = settings.manner.sizes, settings.sizes
    sizes = chosen and replace(drawn, low=chosen[0], high=chosen[1])
    for found in (*differences(graph), *advice(graph, settings.manner, sizes)):
        tell(f"warning: {found}")


def samples_of(manner: str, graph: Graph, data: DataFile, seed: int, tell: Tell) -> PictureData:
    """The pictures to train with."""
    if manner == "classifier":
        return ClassifierData.from_cfg(graph, data, seed=seed, report=tell)
    samples = DetectionData.from_cfg(graph, data, seed=seed, report=tell)
    classes = graph.heads[-1].layer.count_classes(None) or 0  # labels may have others, by `map`
    stated = data.integer("classes", classes)
    if stated != classes:
        tell(f"warning: {data.source}: classes={stated}, but {graph.source} has {classes}")
    return samples
