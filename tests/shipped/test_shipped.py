"""Files by name: those that come with the package and those that were downloaded, away from the repository."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

import pytest
import torch
from PIL import Image

import darknet_py
from darknet_py import cfg, weights
from darknet_py.check import check
from darknet_py.cli import main
from darknet_py.convert import convert
from darknet_py.convert.inspect import inspect
from darknet_py.errors import CfgError, DarknetWarning, WeightsError
from darknet_py.network.graph import Graph
from darknet_py.shipped import find, is_name, near

ROOT = Path(__file__).parents[2]
CFGS = sorted(path.stem for path in (ROOT / "cfg").glob("*.cfg"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, and another one for downloads."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("DARKNET_PY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def put(path: Path, source: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, path)
    return path


@pytest.mark.parametrize("name", CFGS)
@pytest.mark.parametrize("form", ["{}", "{}.cfg", "cfg/{}.cfg"])
def test_a_cfg_is_found_by_its_name(name, form):
    assert Graph.read(form.format(name)).sections == Graph.read(ROOT / "cfg" / f"{name}.cfg").sections


def test_the_other_texts_are_found_by_their_names():
    for form in ("coco", "coco.data", "cfg/coco.data"):
        data = cfg.read_data(form)
        assert data.source == str(ROOT / "cfg" / "coco.data")
        assert data.names() == cfg.read_names("coco") == cfg.read_names("cfg/coco.names")
    graph = Graph.read("shapes9")
    assert graph.nodes[-1].layer.word_tree.names  # the cfg names cfg/shapes9.tree


@pytest.mark.parametrize("form", ["shapes", "shapes.weights", "weights/shapes.weights"])
def test_weights_are_found_by_their_names(form):
    assert weights.find(form) == ROOT / "weights" / "shapes.weights"
    assert weights.verify(Graph.read("shapes"), form).header.seen == 128_000


def test_a_file_that_exists_comes_first():
    for name in ("yolov2", "yolov2.cfg", "cfg/yolov2.cfg"):
        own = put(Path(name), ROOT / "cfg" / "shapes.cfg") if name != "yolov2" else None
        assert Graph.read(name).source == name
        assert len(Graph.read(name).nodes) == len(Graph.read(own or ROOT / "cfg" / "yolov2.cfg").nodes)
    put(Path("shapes.weights"), ROOT / "weights" / "shapes9.weights")
    assert weights.find("shapes.weights") == Path("shapes.weights")
    Path("cfg/coco.data").write_text("classes=1\n")
    assert cfg.read_data("cfg/coco.data").get("classes") == "1"


def test_a_folder_of_that_name_is_no_file():
    """Data sets lie in folders that are called coco or shapes."""
    for name in ("coco", "shapes"):
        Path(name).mkdir()
    assert len(cfg.read_data("coco").names()) == 80
    assert darknet_py.load("shapes", "shapes", data="shapes").names[0]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_a_pipe_of_that_name_is_no_name():
    os.mkfifo("shapes")
    assert find("shapes", ".cfg") == "shapes"
    assert not is_name("shapes")


@pytest.mark.parametrize(
    "path",
    [
        *("/cfg/yolov2.cfg", "../cfg/yolov2.cfg", "data/yolov2.cfg", "a/cfg/yolov2.cfg", "../weights/shapes.weights"),
        *("cfg", "cfg/..", "..", ".", "", "a\0b", "x" * 5000),
    ],
)
def test_other_paths_are_no_names(path):
    assert find(path, ".cfg") is path
    assert not is_name(path) or path in ("cfg", "a\0b", "x" * 5000)


@pytest.mark.parametrize(
    ("read", "written", "meant"),
    [
        (Graph.read, "yolov2-tiy", "'yolov2-tiny' or 'yolov2-tiny-voc' or 'yolov2'"),
        (Graph.read, "cfg/yolo900.cfg", "'yolo9000' or 'yolov2'"),
        (cfg.read_data, "shapez", "'shapes' or 'shapes9'"),
        (cfg.read_data, "cfg/vocc.data", "'voc'"),
        (cfg.read_names, "cocoo.names", "'coco'"),
    ],
)
def test_an_error_says_which_names_are_near(read, written, meant):
    with pytest.raises(CfgError) as caught:
        read(written)
    assert str(caught.value) == f"{written}: cannot be read: No such file or directory; did you mean {meant}?"


@pytest.mark.parametrize("path", ["folder/yolov2-tiy/x", "nothing like it", "a/b/yolov2.cfg"])
def test_other_errors_say_no_more_than_before(path):
    with pytest.raises(CfgError) as caught:
        Graph.read(path)
    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


def test_an_error_says_how_to_get_weights():
    graph = Graph.read("yolov2-tiny")
    for name in ("yolov2-tiny", "yolov2-tiny.weights"):
        with pytest.raises(
            WeightsError, match=r"No such file or directory; darknet-py download yolov2-tiny fetches it$"
        ):
            weights.verify(graph, name)
    with pytest.raises(WeightsError, match="did you mean 'shapes' or 'shapes9'"):
        weights.verify(graph, "shape")
    with pytest.raises(WeightsError, match="No such file or directory$"):
        weights.verify(graph, "backup/yolov2-tiny.weights")


def test_downloads_have_names(cache):
    put(cache / "cfg" / "yolov3.cfg", ROOT / "cfg" / "shapes.cfg")
    put(cache / "yolov3.weights", ROOT / "weights" / "shapes.weights")
    put(cache / "tiny-yolov1.weights", ROOT / "weights" / "shapes.weights")
    put(cache / "darknet19_448.conv.23", ROOT / "weights" / "shapes.weights")
    put(cache / "data" / "9k.names", ROOT / "cfg" / "voc.names")
    assert Graph.read("yolov3").source == "yolov3"
    assert Graph.read("yolov3").sections[0].where.file == str(cache / "cfg" / "yolov3.cfg")
    assert darknet_py.load("yolov3").network.seen == 128_000
    assert weights.find("yolov3.weights") == cache / "yolov3.weights"
    assert weights.find("yolov1-tiny") == cache / "tiny-yolov1.weights"
    assert weights.find("darknet19_448.conv.23") == cache / "darknet19_448.conv.23"
    assert len(cfg.read_data("combine9k").names()) == 20  # names=data/9k.names
    assert near("yolov33", ".cfg").startswith("; did you mean 'yolov3'")


def test_what_is_shipped_comes_before_downloads(cache):
    put(cache / "cfg" / "yolov2.cfg", ROOT / "cfg" / "shapes.cfg")
    assert find("yolov2", ".cfg") == ROOT / "cfg" / "yolov2.cfg"


def test_a_user_without_a_home_has_no_downloads(monkeypatch):
    monkeypatch.setenv("DARKNET_PY_CACHE", "~no-user-has-this-name/cache")
    assert find("yolov2", ".cfg") == ROOT / "cfg" / "yolov2.cfg"
    assert find("nothing", ".cfg") == "nothing"
    assert near("yolov2-tiy", ".cfg").startswith("; did you mean 'yolov2-tiny'")


def test_a_name_alone_takes_the_weights_of_its_name():
    trained, read = darknet_py.load("shapes", device="cpu"), darknet_py.load("shapes", "shapes", device="cpu")
    for mine, other in zip(trained.network.parameters(), read.network.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_random_weights_of_a_name_are_worth_a_warning():
    with pytest.warns(
        DarknetWarning, match=r"^there are no weights called yolov2-tiny here, .* random; .* download"
    ) as given:
        assert darknet_py.load("yolov2-tiny", device="cpu").detects
    assert given[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        darknet_py.load("cfg/yolov2-tiny.cfg", device="cpu")  # as before: without weights they are random


def test_names_work_in_commands(capsys):
    Image.new("RGB", (64, 64)).save("grey.png")
    assert main(["summary", "yolov2-tiny", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["layers"]) == 16
    assert main(["detector", "test", "shapes", "shapes", "shapes", "grey.png", "-nogpu"]) == 0
    assert main(["detect", "shapes", "shapes", "grey.png", "-nogpu", "--names-anyway"]) == 0  # with cfg/coco.data
    assert main(["check", "shapes", "shapes", "shapes.data"]) == 0
    assert main(["convert", "shapes", "shapes", "shapes.safetensors"]) == 0
    assert main(["inspect", "shapes", "shapes"]) == 0
    assert main(["summary", "yolov2-tiy"]) == 1
    assert "did you mean 'yolov2-tiny'" in capsys.readouterr().err


def test_check_puts_files_with_names_in_order():
    found = check("shapes", "shapes9", "voc")
    files = [Path(problem.where.file).name for problem in found]
    assert files == sorted(files, key=["shapes.cfg", "voc.data", "shapes9.weights"].index)
    assert {"voc.data", "shapes9.weights"} <= set(files)


def test_what_fits_is_searched_in_the_package():
    assert any(Path(fit.cfg).name == "shapes.cfg" for fit in inspect("shapes").fits)


def test_converting_takes_names(tmp_path):
    report = convert("shapes", "shapes", tmp_path / "out.weights")
    assert report.layers
    assert (tmp_path / "out.weights").read_bytes() == (ROOT / "weights" / "shapes.weights").read_bytes()
