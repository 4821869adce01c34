"""`darknet-py convert` and `darknet-py inspect`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from darknet_py.cli import convert as verbs
from darknet_py.cli import main
from darknet_py.files.targets import BY_SUFFIX
from darknet_py.weights import Header
from darknet_py.weights.projects import LAYOUTS
from tests.support.places import GOLDEN

CFG, WEIGHTS = (str(GOLDEN / "layers" / f"conv_basic.{suffix}") for suffix in ("cfg", "weights"))


def test_there_and_back(tmp_path, capsys):
    for name in ("a.pt", "b.safetensors"):
        assert main(["convert", CFG, WEIGHTS, str(tmp_path / name)]) == 0
        out, err = capsys.readouterr()
        first, second = out.splitlines()
        assert first.startswith(f"{WEIGHTS} -> {tmp_path / name} (")
        assert second.startswith("largest difference 0 in outputs up to ")
        assert second.endswith(": 0.0e+00 of the scale, 1e-04 allowed")
        assert err == ""
        assert main(["convert", CFG, str(tmp_path / name), str(tmp_path / "c.weights"), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["difference"], report["tolerance"], report["format"]) == (0, 1e-4, "Darknet")
        assert (tmp_path / "c.weights").read_bytes() == Path(WEIGHTS).read_bytes()


def test_options_reach_the_conversion(tmp_path, capsys):
    out = tmp_path / "a.pt"
    arguments = ["--layout", "ultralytics", "--bn-eps", "1e-4", "--half", "bf16", "--seen", "9", "--upto", "1"]
    assert main(["convert", CFG, WEIGHTS, str(out), *arguments, "--no-check"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "not checked"
    state = torch.load(out, weights_only=True)
    assert {tensor.dtype for tensor in state.values() if tensor.is_floating_point()} == {torch.bfloat16}
    assert {key.split(".")[:2][1] for key in state} == {"0"}
    assert state._metadata["darknet_py"]["seen"] == "9"


def test_folding_tells_where_the_cfg_is(tmp_path, capsys):
    assert main(["convert", CFG, WEIGHTS, str(tmp_path / "a.weights"), "--fold-bn"]) == 0
    assert f"its cfg is {tmp_path / 'a.cfg'}" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "a.cfg"), str(tmp_path / "a.weights"), str(tmp_path / "b.pt")]) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([CFG, WEIGHTS], 2, "convert takes CFG SOURCE OUT, and 2 files are given"),
        ([CFG, WEIGHTS, "a.pt", "b.pt"], 2, "and 4 files are given"),
        ([CFG, WEIGHTS, "a.xyz"], 1, "there is no format .xyz"),
        ([CFG, "no.weights", "a.pt"], 1, "no.weights: cannot be read: No such file"),
        (["no.cfg", WEIGHTS, "a.pt"], 1, "no.cfg: cannot be read"),
        ([CFG, WEIGHTS, "a.pt", "--decode"], 1, "does not take --decode; .onnx, .pt2, .ts can"),
        ([CFG, WEIGHTS, "a.weights", "--thresh", "0.1"], 1, "does not take --thresh; .onnx can"),
        ([CFG, WEIGHTS, "a.pt", "--layout", "nobody"], 2, "invalid choice: 'nobody'"),
        ([CFG, WEIGHTS, "a.pt", "--bn-eps", "-1"], 2, "'-1' is no number between 0 and 1"),
        ([CFG, WEIGHTS, "a.pt", "--seen", "x"], 2, "'x' is no whole number from 0"),
        (["--inspect"], 2, "inspect takes FILE, or FILE CFG"),
        (["--inspect", "a.weights", CFG, CFG], 2, "inspect takes FILE, or FILE CFG"),
    ],
)
def test_mistakes_are_one_line(arguments, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == code
    out, err = capsys.readouterr()
    assert message in err
    assert (out, err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_check_is_exit_code_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("darknet_py.convert.proof.TOLERANCES", {torch.float32: -1.0})
    assert main(["convert", CFG, WEIGHTS, str(tmp_path / "a.pt")]) == 1
    assert "a.pt was not written: largest difference 0" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_layouts_offered_are_those_there_are():
    assert tuple(LAYOUTS) == verbs.LAYOUTS


def test_the_help_names_every_suffix(capsys):
    assert main(["convert", "--help"]) == 0
    assert BY_SUFFIX.keys() <= set(re.findall(r"\.\w+", capsys.readouterr().out))


@pytest.mark.parametrize("verb", [["inspect"], ["convert", "--inspect"]])
def test_inspect_prints_a_table(verb, tmp_path, capsys):
    assert main([*verb, WEIGHTS, CFG]) == 0
    head, columns, first, *_ = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{WEIGHTS}: Darknet, version 0.2.0, seen ")
    assert columns.split() == ["layer", "type", "tensor", "shape", "mean", "std", "min", "max", "NaN"]
    assert first.split()[:3] == ["0", "convolutional", "bn.bias"]
    assert len(first) == len(columns)


def test_inspect_of_an_unknown_file_names_cfgs(tmp_path, monkeypatch, capsys):
    (tmp_path / "net.cfg").write_bytes(Path(CFG).read_bytes())
    (tmp_path / "any.weights").write_bytes(Path(WEIGHTS).read_bytes())
    assert main(["inspect", str(tmp_path / "any.weights")]) == 0
    assert f"fits {tmp_path / 'net.cfg'}: whole" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "any.weights"), "--json"]) == 0
    contents = json.loads(capsys.readouterr().out)
    assert contents["fits"][0]["layers"] == contents["fits"][0]["of"]


def test_inspect_against_the_wrong_cfg_is_exit_code_1(tmp_path, capsys):
    other = str(GOLDEN / "layers" / "connected.cfg")
    assert main(["inspect", WEIGHTS, other]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(WEIGHTS)
    assert err.startswith(f"darknet-py: {WEIGHTS}: it ")


@pytest.mark.skipif(not hasattr(os, "kill") or sys.platform == "win32", reason="signals of Unix")
def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path):
    cfg, source = tmp_path / "net.cfg", tmp_path / "net.weights"
    cfg.write_text("[net]\ninputs=8000\n[connected]\noutput=8000\n", encoding="utf-8")
    with source.open("wb") as file:
        file.write(Header().pack())
        file.truncate(Header().size + 4 * 8000 * 8001)
    run = subprocess.Popen(
        [sys.executable, "-m", "darknet_py", "convert", str(cfg), str(source), "net.pt"], cwd=tmp_path
    )
    for _ in range(1200):
        if any(path.suffix != ".pt" and path.name.startswith(".net.pt.") for path in tmp_path.iterdir()):
            break
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 143
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.cfg", "net.weights"]
