"""tools/fuzz finds what is wrong, and finds nothing in the package."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from darknet_py.errors import CfgError, DarknetWarning
from darknet_py.layers import REGISTRY
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tools.fuzz import __main__ as tool
from tools.fuzz import cfgs, networks
from tools.fuzz import judge as judging

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fuzzer is for Linux")

PLANTED = f"""
import os, signal, sys, warnings
sys.path.insert(0, {str(ROOT)!r})
from tools.fuzz import __main__ as fuzz, run as fuzz_run
from darknet_py.errors import DarknetError
from tools.fuzz.judge import Kind, Sample, tried

class Lines(DarknetError):
    def __str__(self):
        return "two\\nlines"

def refuse(error, cause=None):
    raise error from cause

def loop():
    while True:
        pass

FAULTS = [
    lambda: tried(refuse, DarknetError("refused")),
    lambda: refuse(ValueError("planted")),
    loop,
    lambda: os.kill(os.getpid(), signal.SIGSEGV),
    signal.pause,
    lambda: tried(refuse, Lines()),
    lambda: warnings.warn("planted"),
    lambda: bytearray(1 << 30),
    lambda: tried(refuse, DarknetError("too large"), MemoryError()),
    lambda: bytearray(b"x") * (90 << 20),
    lambda: None,
]
kind = Kind("planted", lambda rng: Sample(".bin", rng.randbytes(4)), lambda path: FAULTS[number(path)](), 64 << 20)
number = lambda path: int(path.stem.rpartition("-")[2])
fuzz.kind_of = lambda name: kind
fuzz_run.PATIENCE = 4
limits = ["--seconds", "0.5", "--keep", sys.argv[1]]
code = fuzz.main(["texts", "--count", "11", "--jobs", "2", "--json", *limits])
again = fuzz.main(["texts", "--only", "1", *limits])
sys.exit(code * 10 + again)
"""
FOUND = {
    1: "ValueError: planted",
    2: "hang: more than 0.5 seconds of the processor",
    3: "end: the process ended with -11",
    4: "hang: no answer within 2 seconds",
    5: "AnswerError: control character '\\n'",
    6: "warning: UserWarning: planted",
    7: "MemoryError",
    8: "MemoryError: refused only when memory ran out: too large",
    9: "memory: ",
}


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_package_reads_or_refuses_damaged_files():
    done = python("-m", "tools.fuzz", "all", "--count", "50", "--seed", "1", "--json")
    assert json.loads(done.stdout) == {"inputs": 250, "seed": 1, "findings": []}
    assert done.returncode == 0


def test_planted_faults_are_found_and_kept(tmp_path):
    done = python("-c", PLANTED, str(tmp_path))
    report, *again = done.stdout.splitlines()
    findings = {finding["index"]: finding for finding in json.loads(report)["findings"]}
    assert {index: finding["what"][: len(FOUND[index])] for index, finding in findings.items()} == FOUND
    assert all(Path(finding["file"]).stat().st_size == 4 for finding in findings.values())
    assert again[0] == f"{tmp_path}/planted-0-1.bin: 4 bytes"
    assert again[-1] == "ValueError: planted "
    assert done.returncode == 11


@pytest.mark.parametrize("name", tool.KINDS)
def test_seed_and_number_give_the_input(name):
    kind = tool.kind_of(name)
    assert [kind.sample(7, n) for n in range(20)] == [kind.sample(7, n) for n in range(20)]
    assert len({kind.sample(7, n).data for n in range(20)}) > 10


def test_the_cfgs_that_are_changed_have_every_section_and_run():
    found = set()
    for body in networks.BODIES:
        graph = Graph.parse(networks.NET + body)
        found |= {type(node.layer) for node in graph.nodes}
        cfgs.run(Network(graph).eval())
    assert found == set(REGISTRY.values())


@pytest.mark.parametrize("message", ["a\nb", "\x1b[31m", "\x9b", "", "a" * 501])
def test_messages_that_no_terminal_should_get(message):
    with pytest.raises(judging.AnswerError):
        judging.check_message(message)


def test_what_is_as_it_should_be_is_no_finding(tmp_path):
    def read(path):
        warnings.warn(DarknetWarning("\x1b[31m" * 999), stacklevel=1)
        assert judging.tried(str.upper, "fine") == "FINE"
        judging.tried(refused, path)

    def refused(path):
        raise CfgError(f"\n{path}")

    kind = judging.Kind("fine", lambda rng: judging.Sample("", b""), read)
    assert judging.judge(kind, 0, tmp_path / "x", 10) is None
