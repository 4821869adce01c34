"""`python -m tools.bench BENCH [options]`, from the root of the repository; `--help` lists the benches."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tools.bench.costs import Costs
from tools.bench.end_to_end import EndToEnd
from tools.bench.harness import run
from tools.bench.inference import Inference
from tools.bench.jobs import Jobs
from tools.bench.loader import Loader
from tools.bench.options import parse
from tools.bench.train import Train

BENCHES = (Costs(), Inference(), EndToEnd(), Train(), Loader(), Jobs())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of them; gives the exit code."""
    args = parse(BENCHES, argv)
    return run(args.bench, args)


if __name__ == "__main__":
    sys.exit(main())
