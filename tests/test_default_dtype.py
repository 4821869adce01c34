"""torch's default dtype and device, which other libraries in the process change: nothing here depends on them."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import darknet_py

PACKAGE = Path(darknet_py.__file__).parent
WORKER = Path(__file__).parent / "support" / "under_defaults.py"
TYPED = {  # what makes values of torch's default dtype, unless it is told another; `arange` only for floats
    "torch": {
        "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "empty_strided", "eye", "full",
        "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "normal", "ones", "rand", "randn",
        "range", "scalar_tensor", "tensor", "zeros",
    },
    "nn": {
        "BatchNorm1d", "BatchNorm2d", "Conv1d", "Conv2d", "ConvTranspose2d", "Embedding", "GroupNorm", "LayerNorm",
        "Linear", "PReLU",
    },
    "": {"Conv2d", "ConvTranspose2d", "Linear"},  # those of layers/parts/uninitialized.py
}  # fmt: skip
FORBIDDEN = {"Tensor", "FloatTensor", "set_default_dtype", "get_default_dtype", "set_default_device"}
LABELS = (PACKAGE / "pictures" / "draw.py", "torch.as_tensor(labels)")  # whole numbers of any type


def is_copied(node: ast.AST) -> bool:
    """Whether this is a helper of source text, whose copies belong to users and to their defaults."""
    return isinstance(node, ast.FunctionDef) and any(ast.unparse(mark) == "helper" for mark in node.decorator_list)


def untyped(path: Path) -> list[str]:
    """The calls in a module that leave the type to torch."""
    found = []
    module = ast.parse(path.read_text(encoding="utf-8"))
    for node in (node for part in module.body if not is_copied(part) for node in ast.walk(part)):
        if not isinstance(node, ast.Call):
            continue
        home, _, name = ast.unparse(node.func).rpartition(".")
        typed = any(word.arg in ("dtype", None) for word in node.keywords)
        whole = name == "arange" and not any(
            isinstance(part, ast.Div) or (isinstance(part, ast.Constant) and isinstance(part.value, float))
            for argument in node.args for part in ast.walk(argument)
        )  # fmt: skip
        leaves = name in TYPED.get(home, ()) and not typed and not whole
        if leaves or (home == "torch" and name in FORBIDDEN):
            found.append(ast.unparse(node))
    return found


def test_every_tensor_says_its_type():
    left = [(path, call) for path in sorted(PACKAGE.rglob("*.py")) for call in untyped(path)]
    assert [pair for pair in left if pair != LABELS] == []


def test_calls_without_a_type_are_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("torch.zeros(2)\ntorch.zeros(2, dtype=d)\nnn.Linear(1, 2)\ntorch.arange(3)\ntorch.arange(n / 2)\n")
    assert untyped(path) == ["torch.zeros(2)", "nn.Linear(1, 2)", "torch.arange(n / 2)"]


def run(folder: Path, *arguments: str) -> dict[str, object]:
    """What under_defaults.py finds."""
    folder.mkdir()
    process = subprocess.run(
        [sys.executable, WORKER, *arguments], check=False, cwd=folder, capture_output=True, text=True, timeout=240,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> dict[str, object]:
    """What it finds with the defaults that torch has."""
    return run(tmp_path_factory.mktemp("usual") / "run", "float32")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_the_default_dtype_changes_nothing(tmp_path, usual, dtype):
    assert run(tmp_path / "run", dtype) == usual


def test_the_default_device_changes_nothing(tmp_path, usual):
    found = run(tmp_path / "run", "float32", "meta")
    assert found == {name: usual[name] for name in ("detector", "classifier")}
