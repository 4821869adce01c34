"""What is installed: the metadata of the distribution, and what wheels and source archives hold."""

from __future__ import annotations

import os
import re
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

import darknet_py
from tests.support.places import takes_long

ROOT = Path(__file__).parents[1]
# One program for both archives, with what builds every install; nothing is fetched.
BUILD = "from setuptools import build_meta; build_meta.build_wheel('../dist'); build_meta.build_sdist('../dist')"


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> Path:
    """A folder with the wheel and the source archive, built from a copy of what is not generated."""
    pytest.importorskip("setuptools", "77.0.3")
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    for path in files_of(ROOT):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes((ROOT / path).read_bytes())
    (folder / "dist").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True, capture_output=True)
    return folder / "dist"


def files_of(root: Path) -> set[PurePosixPath]:
    """What a build needs: the files at the top, those of the package and those that come with it."""
    inside = (path for folder in ("darknet_py", "cfg", "weights") for path in (root / folder).rglob("*"))
    found = (path for path in (*root.iterdir(), *inside) if path.is_file() and path.suffix != ".pyc")
    return {PurePosixPath(path.relative_to(root).as_posix()) for path in found if path.name != ".git"}


@pytest.fixture(scope="module")
def wheel(archives) -> dict[str, bytes]:
    (path,) = archives.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(archives) -> set[str]:
    (path,) = archives.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {member.name.partition("/")[2] for member in archive if member.isfile()}


@pytest.fixture(scope="module")
def metadata(wheel) -> Message:
    (text,) = (wheel[name] for name in wheel if name.endswith(".dist-info/METADATA"))
    return message_from_string(text.decode())


def test_there_is_one_version(metadata):
    assert metadata["Version"] == darknet_py.__version__


def test_the_distribution_says_what_it_is(metadata):
    assert (metadata["Name"], metadata["License-Expression"]) == ("darknet-torch", "MIT")
    assert metadata["License-File"] == "LICENSE"
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.get_all("Classifier")))
    assert versions == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert metadata["Requires-Python"] == f">={versions[0]}"


def test_errors_name_the_distribution_and_its_extras(metadata):
    """What a message says to install is there to be installed."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "darknet_py").rglob("*.py")]
    named = {match for text in texts for match in re.findall(r"pip install '([^']+)\[(\w+)\]'", text)}
    assert named
    assert {name for name, _ in named} == {metadata["Name"]}
    assert {extra for _, extra in named} <= set(metadata.get_all("Provides-Extra"))


def test_the_wheel_holds_the_whole_package(wheel):
    assert {str(path) for path in files_of(ROOT) if path.parts[0] == "darknet_py"} <= wheel.keys()


def test_the_wheel_holds_the_files_that_have_names(wheel):
    shipped = {path for path in files_of(ROOT) if path.parts[0] in ("cfg", "weights") and path.suffix != ".md"}
    assert {"cfg/coco.data", "cfg/coco.names", "cfg/shapes9.tree", "weights/shapes.weights"} <= set(map(str, shipped))
    for path in shipped:
        assert wheel[f"darknet_py/shipped/{path}"] == (ROOT / path).read_bytes()


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.partition("/")[0] for name in wheel} == {
        "darknet_py",
        f"darknet_torch-{darknet_py.__version__}.dist-info",
    }


def test_the_source_archive_builds_the_same(sdist, wheel):
    package = {name for name in wheel if name.startswith("darknet_py/")}
    beside = {f"darknet_py/shipped/{folder}" for folder in ("cfg", "weights")}
    moved = {name.removeprefix("darknet_py/shipped/") if name.startswith((*beside,)) else name for name in package}
    assert moved | {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= sdist


INSTALLED = """
import sys, warnings
import darknet_py, darknet_py.shipped
from darknet_py.cli import main
assert darknet_py.__file__.startswith(sys.prefix), darknet_py.__file__
assert str(darknet_py.shipped.ROOT).startswith(sys.prefix)
from PIL import Image
Image.new("RGB", (64, 64)).save("grey.png")
darknet_py.load("shapes", device="cpu").detect("grey.png")
with warnings.catch_warnings(record=True) as given:
    warnings.simplefilter("always")
    assert darknet_py.load("yolov2-tiny", data="coco", device="cpu").names[16] == "dog"
assert [str(warning.message) for warning in given if "random" in str(warning.message)]
for command in (
    "summary yolov2-tiny", "check shapes shapes shapes.data", "detector test shapes shapes shapes grey.png -nogpu",
    "detect cfg/shapes9.cfg weights/shapes9.weights grey.png -nogpu --names-anyway",
):
    assert main(command.split()) == 0, command
"""


@takes_long
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz", "editable"])
def test_it_works_where_it_is_installed(kind, archives, tmp_path):
    """In a new environment that has nothing but what the package needs, from an empty folder."""
    venv.create(tmp_path / "env")
    python = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    (packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    needed = [path for path in site.getsitepackages() if Path(path).is_dir()]
    (packages / "needed.pth").write_text("\n".join(needed), encoding="utf-8")
    source = ["-e", str(archives.parent / "source")] if kind == "editable" else [str(*archives.glob(kind))]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--ignore-installed", "--no-build-isolation"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment["DARKNET_PY_CACHE"] = str(tmp_path / "cache")
    (tmp_path / "folder").mkdir()
    program = INSTALLED.replace("sys.prefix", repr(str(archives.parent))) if kind == "editable" else INSTALLED
    for command in ([*pip, *offline, *source], [str(python), "-c", program]):
        subprocess.run(command, cwd=tmp_path / "folder", check=True, env=environment)
