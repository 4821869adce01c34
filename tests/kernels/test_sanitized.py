"""The C kernels under the sanitizers of addresses and of undefined behaviour, with random sizes: see driver.c."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from darknet_py.kernels import compiled

DRIVER = Path(__file__).with_name("driver.c")
SANITIZED = "-std=gnu11", "-O0", "-g", "-fopenmp", "-Wno-psabi", "-fsanitize=address,undefined"
ROUNDS = "40"
X86 = platform.machine() == "x86_64"


def driver(folder: Path, sources: list[Path], *flags: str) -> Path:
    """The driver with some kernels."""
    program = folder / "driver"
    command = ["gcc", *SANITIZED, "-fno-sanitize-recover=undefined", *flags, f"-I{compiled.SOURCES[0].parent}"]
    subprocess.run([*command, *map(str, sources), "-o", str(program)], check=True, timeout=120)
    return program


def run(program: Path) -> subprocess.CompletedProcess[str]:
    environment = {"OMP_NUM_THREADS": "2", "ASAN_OPTIONS": "detect_leaks=0", "PATH": ""}  # ptrace may be shut
    return subprocess.run(
        [str(program), ROUNDS], check=False, env=environment, capture_output=True, text=True, timeout=120
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def needs_sanitizers(tmp_path_factory):
    """Skip where nothing can be compiled with them, and run."""
    if sys.platform != "linux" or shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    folder = tmp_path_factory.mktemp("sanitizers")
    (folder / "empty.c").write_text("int main(void) { return 0; }\n")
    command = ["gcc", *SANITIZED, str(folder / "empty.c"), "-o", str(folder / "empty")]
    made = subprocess.run(command, check=False, capture_output=True, timeout=60)
    if made.returncode or subprocess.run([str(folder / "empty")], check=False, timeout=60).returncode:
        pytest.skip("this gcc has no sanitizers")


@pytest.mark.parametrize("flags", [(), *([("-march=native",), ("-mavx2", "-mfma")] if X86 else [])])
def test_nothing_is_read_or_written_outside(tmp_path, flags):
    if "-mavx2" in flags and " avx2 " not in compiled.told_of_processor("flags"):
        pytest.skip("this processor has no AVX2")
    process = run(driver(tmp_path, [*compiled.SOURCES[1:], DRIVER], *flags))
    assert (process.returncode, process.stdout, process.stderr) == (0, "all fits\n", "")


@pytest.mark.parametrize(
    ("name", "code", "worse"),
    [
        ("letterbox.c", "used = step * (picture->w - 1) + 3;", "used = step * picture->w;"),
        ("narrow.c", "columns = least(COLUMN, job->k - k);", "columns = COLUMN;"),
        ("winograd.c", "y < job->h &&", "y <= job->h &&"),
    ],
)
def test_a_fault_would_be_seen(tmp_path, name, code, worse):
    sources = [tmp_path / source.name if source.name == name else source for source in compiled.SOURCES[1:]]
    text = compiled.SOURCES[0].with_name(name).read_text(encoding="utf-8")
    assert text.count(code) == 1
    (tmp_path / name).write_text(text.replace(code, worse), encoding="utf-8")
    process = run(driver(tmp_path, [*sources, DRIVER]))
    assert process.returncode != 0
    assert "AddressSanitizer" in process.stderr
