"""The harness runs any bench: one parser, one table, one form of JSON. Its tests run a bench of three rows."""

from __future__ import annotations

import inspect
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import torch

from tools.bench.__main__ import BENCHES, main
from tools.bench.harness import Bench, run
from tools.bench.measuring import BenchError
from tools.bench.options import UsageError, parse
from tools.bench.rows import Row, excess, percentage, ratio, spread


class Made(Bench):
    """Nothing."""

    name = "made"
    rounds = 3
    packages = ("torch", "no-such-distribution")

    def add_options(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fail", action="store_true")
        parser.add_argument("--path", type=Path, default=Path("a/b"))

    def complete(self, args: Namespace) -> None:
        if args.fail and args.rounds == 1:
            raise UsageError("--fail takes two rounds")

    def settings(self, args: Namespace) -> dict[str, object]:
        return {"weather": "fine"}

    def measure(self, args: Namespace, folder: Path) -> Iterator[Row]:
        (folder / "file").touch()
        yield spread("sums", "ours", [3.0, 1.0, 2.0], "ms")
        yield ratio("sums", "ours", "theirs", [3.0, 1.0, 2.0], [1.0, 1.0, 1.0], limit=1.5)
        if args.fail:
            raise BenchError("it cannot be")
        yield Row("sums", "others", None, note="not installed")


def made(*arguments: str) -> int:
    args = parse([Made()], ["made", *arguments])
    return run(args.bench, args)


def test_the_json_has_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    assert made("--json", "--threads", str(torch.get_num_threads())) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["schema", "bench", "date", "options", "machine", "versions", "settings", "rows"]
    assert (found["schema"], found["bench"]) == (1, "made")
    assert abs(datetime.fromisoformat(found["date"]) - datetime.now(timezone.utc)) < timedelta(hours=1)
    assert found["options"] == {"rounds": 3, "threads": torch.get_num_threads(), "fail": False, "path": "a/b"}
    assert {"cpu", "threads", "load average"} <= found["machine"].keys()
    assert found["versions"]["torch"]
    assert found["versions"]["no-such-distribution"] == "not installed"
    assert found["settings"] == {"weather": "fine"}
    ours, compared, others = found["rows"]
    assert ours == {
        "group": "sums", "name": "ours", "unit": "ms", "value": 2.0, "min": 1.0, "low": 1.25, "high": 2.75, "max": 3.0,
        "rounds": 3, "peer": None, "limit": None, "holds": None, "note": "",
    }  # fmt: skip
    assert ours.keys() == compared.keys() == others.keys()
    assert (compared["name"], compared["peer"], compared["limit"], compared["holds"]) == (
        "ours / theirs", "theirs", 1.5, False
    )  # fmt: skip
    assert (others["value"], others["min"], others["note"]) == (None, None, "not installed")


def test_a_table_and_json_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "made.json"
    assert made("--json", str(path)) == 0
    text = capsys.readouterr().out
    assert "weather: fine" in text
    assert "sums   ours / theirs   2.00 x" in text
    assert json.loads(path.read_text(encoding="utf-8"))["bench"] == "made"
    assert made("--json", str(tmp_path)) == 1
    assert capsys.readouterr().err.startswith("bench made: ")


def test_check_fails_where_a_limit_does_not_hold() -> None:
    assert made() == 0
    assert made("--check") == 1


def test_what_cannot_be_measured_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert made("--fail") == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "bench made: it cannot be\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "0"], "argument --rounds: a number of 1 or more was expected, not '0'"),
        (["--threads", "two"], "argument --threads: a number of 1 or more was expected, not 'two'"),
        (["--fail", "--rounds", "1"], "python -m tools.bench made: error: --fail takes two rounds"),
    ],
)
def test_wrong_options(arguments: Sequence[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        made(*arguments)
    assert message in capsys.readouterr().err


def test_all_benches_have_the_common_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert {bench.name for bench in BENCHES} == {"inference", "train", "end-to-end", "costs", "jobs", "loader"}
    for bench in BENCHES:
        args = parse(BENCHES, [bench.name, "--rounds", "2", "--threads", "1", "--json", "x", "--check"])
        assert (args.bench, args.rounds, args.threads, args.json, args.check) == (bench, 2, 1, "x", True)
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    assert all(f"    {bench.name}" in text and inspect.getdoc(bench) in text for bench in BENCHES)
    with pytest.raises(SystemExit, match="0"):
        main(["end-to-end", "--help"])
    assert "Measure from files to boxes: what a list of pictures takes" in capsys.readouterr().out


def test_ratios_and_differences_are_those_of_the_rounds() -> None:
    a, b = [2.0, 6.0, 9.0], [1.0, 2.0, 9.0]
    assert ratio("g", "a", "b", a, b).value == 2
    assert percentage("g", "a", "b", a, b).value == 200
    assert excess("g", "a beyond b", "b", a, b).value == 1000
    one = spread("g", "a", [5.0], "s")
    assert (one.low, one.value, one.high, one.rounds) == (5, 5, 5, 1)
