"""`detector train`, `classifier train` and `yolo train`."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import ArgumentParser, ArgumentTypeError, BooleanOptionalAction, Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from darknet_py.cli.options import (
    Verb,
    count,
    data_arguments,
    device_arguments,
    device_of,
    natural,
    option,
    switch,
    use_reading,
)
from darknet_py.cli.output import complain
from darknet_py.cli.signals import stop_signals

if TYPE_CHECKING:
    from darknet_py.cfg import DataFile
    from darknet_py.cli.start import Start
    from darknet_py.data import PictureData
    from darknet_py.network.graph import Graph
    from darknet_py.train import History, Observer, TrainSettings, World

EPOCHS = 4  # between two measurements


def _arguments(parser: ArgumentParser, *, boxes: bool) -> None:
    parser.add_argument("data", metavar="DATA", help="the .data file: train=, names, backup=")
    parser.add_argument("cfg", metavar="CFG")
    parser.add_argument("weights", metavar="WEIGHTS", nargs="?", help="to start from; NAME.conv.N for the first layers")
    switch(parser, "clear", "count pictures and batches from 0")
    switch(parser, "resume", "continue the last run, if there was one")
    option(parser, "backup", str, None, "folder for weights (default: backup= of the .data file, or backup)")
    option(parser, "gpus", _numbers, None, "train on these GPUs together, such as 0,1")
    device_arguments(parser)
    data_arguments(parser)
    for name, text in (("batches", "end after this many batches"), ("save-every", "batches between two NAME.backup")):
        parser.add_argument(f"--{name}", type=count, metavar="N", help=text)
    parser.set_defaults(map=False, map_every=None, mAP_epochs=EPOCHS)
    if boxes:
        switch(parser, "map", "measure mean average precision on valid= at intervals")
        parser.add_argument("--map-every", type=count, metavar="N", help="batches between two measurements")
        option(parser, "mAP_epochs", count, EPOCHS, f"or epochs, with -map (default: {EPOCHS}, at least 100 batches)")
    parser.add_argument("--sizes", type=_range, metavar="LOW,HIGH", help="input sizes of random=1")
    _output_arguments(parser)
    _speed_arguments(parser)


def _output_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--log", metavar="FILE.csv", help="write one row per batch")
    parser.add_argument("--tensorboard", metavar="DIR", help="write losses for TensorBoard")
    text = "draw the losses here (default: chart.png beside the weights)"
    parser.add_argument("-chart", "--chart", metavar="FILE", help=text)
    switch(parser, "json", "print one JSON object per line")


def _speed_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=natural, metavar="N", help="of everything random (default: 0)")
    parser.add_argument("--workers", type=natural, metavar="N", help="processes that load pictures")
    parser.add_argument("--threads", type=count, metavar="N", help="threads of the CPU")
    parser.add_argument("--amp", choices=("bf16",), help="compute in this type where it is safe")
    channels = "pixel by pixel in memory (default: yes)"
    parser.add_argument("--channels-last", action=BooleanOptionalAction, default=True, help=channels)
    switch(parser, "tune-malloc", "keep freed memory in the process, for faster steps on the CPU")
    switch(parser, "compile", "compile the network by torch.compile")
    switch(parser, "deterministic", "use only operations with the same result in every run")


def _numbers(text: str) -> tuple[int, ...]:
    found = tuple(natural(part) for part in text.split(","))
    if len(set(found)) != len(found):
        raise ArgumentTypeError(f"{text!r} names a GPU twice")
    return found


def _range(text: str) -> tuple[int, int]:
    low, comma, high = text.partition(",")
    if not comma:
        raise ArgumentTypeError(f"{text!r} is not LOW,HIGH")
    return count(low), count(high)


def _run(args: Namespace, manner: str) -> int:
    if "torch" not in sys.modules:  # threads that wait by running take the processor from those that load pictures
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from darknet_py.cfg import read_data
    from darknet_py.cli.start import folder_of
    from darknet_py.network.graph import Graph
    from darknet_py.network.naming import check_names
    from darknet_py.train import check_gpus, check_place, joined, launch

    if args.clear and args.resume:
        complain("-clear starts anew and --resume goes on: give one of them")
        return 2
    if args.gpus and not args.nogpu:
        check_gpus(args.gpus)
    if args.gpus and len(args.gpus) > 1 and "WORLD_SIZE" not in os.environ:
        with warnings.catch_warnings():  # what is wrong with these files is said once
            warnings.simplefilter("ignore")
            Graph.read(args.cfg, strict=args.strict, dialect=args.dialect)
            check_place(folder_of(args, read_data(args.data)))
        return launch(args.gpus, _without_gpus(args.command))
    if args.gpus and len(args.gpus) == 1:
        (args.i,) = args.gpus
    if args.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the GPU is first used
    data, graph = read_data(args.data), Graph.read(args.cfg, strict=args.strict, dialect=args.dialect)
    if not args.names_anyway:
        check_names(graph, data.names(), str(data.path("names", "labels")))
    with joined(device_of(args)) as world:
        return _train(args, manner, data, graph, world)


def _without_gpus(command: Sequence[str]) -> list[str]:
    """A command without its -gpus."""
    at = next(place for place, word in enumerate(command) if word.lstrip("-").partition("=")[0] == "gpus")
    return [*command[:at], *command[at + (1 if "=" in command[at] else 2) :]]


def _train(args: Namespace, manner: str, data: DataFile, graph: Graph, world: World) -> int:
    import torch

    from darknet_py.cli.progress import STYLES, Printer
    from darknet_py.cli.start import Start, advise, folder_of, samples_of
    from darknet_py.devices import pick_device
    from darknet_py.train import STOPPED, History, check_place, train, tune_malloc

    tell = complain if world.is_first else _say_nothing
    if args.tune_malloc and not tune_malloc():
        tell("--tune-malloc does nothing here: that takes Linux with glibc")
    if args.threads:
        torch.set_num_threads(args.threads)
    device = world.device if world.size > 1 else pick_device(device_of(args))
    if world.is_first:
        check_place(folder_of(args, data))
    start = Start.of(args, graph, folder_of(args, data), tell)
    network = start.network.to(device)
    use_reading(args)
    samples = samples_of(manner, graph, data, start.seed, tell)
    settings = _settings(args, manner, data, graph, samples, start, device.type)
    advise(graph, settings, tell)
    samples.problems.report = complain
    history, observers = History(), []
    if world.is_first:
        printer = Printer(STYLES[manner], graph, len(samples.paths), world.size, as_json=args.json)
        samples.problems.report = printer.failed
        observers = [printer, *_files(args, settings, history, printer.failed)]
    with stop_signals(world.size, tell=world.is_first) as told:
        result = train(
            network,
            samples,
            settings,
            resumed=start.checkpoint,
            history=history,
            observers=observers,
            stop=told.is_set,
            world=world,
        )
    if not result.updates:
        tell(f"nothing is left to train: all {result.batch} batches of max_batches are done")
    if result.stopped:
        tell(f"stopped after batch {result.batch}; the same command with --resume goes on")
    return STOPPED if result.stopped else 0


def _say_nothing(_message: str) -> None:
    """What the other processes tell."""


def _settings(
    args: Namespace, manner: str, data: DataFile, graph: Graph, samples: PictureData, start: Start, device: str
) -> TrainSettings:
    import torch

    from darknet_py.cli.start import folder_of
    from darknet_py.evaluate.truths import valid_paths
    from darknet_py.train import MANNERS, TrainSettings, default_workers

    net = graph.net
    measures = args.map or args.map_every
    every = args.map_every or max(100, args.mAP_epochs * len(samples.paths) // net.batch)
    workers = default_workers(device, net.network_batch * net.width * net.height)
    return TrainSettings(
        folder=folder_of(args, data),
        manner=MANNERS[manner],
        seed=start.seed,
        batches=args.batches,
        save_every=args.save_every,
        sizes=args.sizes,
        workers=workers if args.workers is None else args.workers,
        amp={"bf16": torch.bfloat16, None: None}[args.amp],
        compile=args.compile,
        channels_last=args.channels_last,
        deterministic=args.deterministic,
        valid=valid_paths(data) if measures else (),
        names=data.names(),
        map_every=every if measures else 0,
    )


def _files(
    args: Namespace, settings: TrainSettings, history: History, report: Callable[[str], None]
) -> Iterator[Observer]:
    """What writes files beside the weights."""
    from darknet_py.train import Chart, CsvLog, TensorBoard

    if args.log:
        yield CsvLog(args.log)
    if args.tensorboard:
        yield TensorBoard(args.tensorboard)
    chart = args.chart or (settings.folder or Path()) / "chart.png"
    yield Chart(chart, history, report, title=Path(args.cfg).name, needed=bool(args.chart))


def _verb(text: str, manner: str) -> Verb:
    return Verb(
        text,
        lambda parser: _arguments(parser, boxes=manner != "classifier"),
        lambda args: _run(args, manner),
    )


VERBS = {
    "detector train": _verb("train a detector by its cfg", "detector"),
    "classifier train": _verb("train a classifier as its cfg says", "classifier"),
    "yolo train": _verb("train the first YOLO as its cfg says", "yolo"),
}
