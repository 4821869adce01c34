"""Gives damaged files to every reader of the package; each must be read, or refused in one clear line.

python -m tools.fuzz cfgs --count 100000 --jobs 2      cfgs, weights, tensors, texts, pictures, or all of them
python -m tools.fuzz cfgs --seed 3 --only 4711         one input again, with the way to where it fails

A finding is any other exception than a DarknetError, a warning that is no DarknetWarning, a message that is not one
line of printable text, memory beyond a limit, a hang, the end of the process, and an answer that cannot be (a network
that computes other shapes than its graph states). Seed and number give the input. Linux only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import torch

from tools.fuzz.judge import CONTROL, Finding, Kind, judge, limit_memory
from tools.fuzz.run import Run, run

KINDS: Final = ("cfgs", "weights", "tensors", "texts", "pictures")
SHOWN: Final = 3  # findings of one sort that are printed


def main(arguments: Sequence[str] | None = None) -> int:
    """Try them; gives the exit code, 1 where there are findings."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    kinds = [kind_of(name) for name in (KINDS if options.kind == "all" else (options.kind,))]
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        if options.only is not None:
            return _again(kinds[0], options)
        start = time.monotonic()
        work = Run(options.seed, options.jobs, options.seconds, Path(folder), options.keep)
        found = list(_shown(kinds, work, options.count, quiet=options.json))
    inputs = options.count * len(kinds)
    if options.json:
        print(json.dumps({"inputs": inputs, "seed": options.seed, "findings": [one.as_dict() for one in found]}))
    else:
        print(f"{time.monotonic() - start:.0f} seconds\n{inputs} inputs, {len(found)} findings")
    return 1 if found else 0


def kind_of(name: str) -> Kind:
    """The kind of that name."""
    kind: Kind = import_module(f"tools.fuzz.{name}").KIND
    return kind


def _shown(kinds: Sequence[Kind], work: Run, count: int, *, quiet: bool) -> Iterator[Finding]:
    """Every finding; the first of each sort are printed."""
    sorts: Counter[tuple[str, str, str]] = Counter()
    for kind in kinds:
        for done, finding in run(kind, range(count), work):
            if finding is None:
                if not quiet:
                    print(
                        f"{kind.name}: {done} of {count}, {sum(sorts.values())} findings", file=sys.stderr, flush=True
                    )
                continue
            sort = (kind.name, finding.what.partition(":")[0], finding.where)
            sorts[sort] += 1
            if not quiet and sorts[sort] <= SHOWN:
                print(CONTROL.sub("?", f"{kind.name} {finding.index}: {finding.what} {finding.where}"), flush=True)
            yield finding


def _again(kind: Kind, options: argparse.Namespace) -> int:
    """Make one input, in the current folder or the one to keep them, and read it in this process."""
    folder = options.keep or Path()
    folder.mkdir(parents=True, exist_ok=True)
    sample = kind.sample(options.seed, options.only)
    path = folder / f"{kind.name}-{options.seed}-{options.only}{sample.suffix}"
    path.write_bytes(sample.data)
    print(f"{path}: {len(sample.data)} bytes", flush=True)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        copy = Path(shutil.copy(path, place))
        limit_memory(2 * kind.spare)
        finding = judge(kind, options.only, copy, options.seconds)
    print("no finding" if finding is None else f"{finding.trace}{finding.what} {finding.where}")
    return 0 if finding is None else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=(*KINDS, "all"))
    parser.add_argument("--count", type=int, default=1000, metavar="N", help="inputs of each kind (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed gives other inputs (default: 0)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes side by side (default: 1)")
    parser.add_argument("--seconds", type=float, default=10, help="of the processor, for an input (default: 10)")
    parser.add_argument("--only", type=int, metavar="INDEX", help="this input alone, kept as a file")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a folder for the inputs that fail")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
