"""What is installed: the metadata of the distribution, and what wheels and source archives hold."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from pathlib import Path, PurePosixPath

import pytest

import darknet_py

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
    """What a build needs: the files at the top and those of the package."""
    inside = (path for folder in ("darknet_py",) for path in (root / folder).rglob("*"))
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
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE).group(1).rstrip(",") == darknet_py.__version__


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
    package = {str(path) for path in files_of(ROOT) if path.parts[0] == "darknet_py"}
    assert package <= wheel.keys()


def test_the_wheel_holds_nothing_else(wheel):
    assert {name.partition("/")[0] for name in wheel} == {
        "darknet_py",
        f"darknet_torch-{darknet_py.__version__}.dist-info",
    }


def test_the_source_archive_builds_the_same(sdist, wheel):
    package = {name for name in wheel if name.startswith("darknet_py/")}
    assert package | {"pyproject.toml", "README.md", "LICENSE"} <= sdist
