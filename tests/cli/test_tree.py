"""`tree check`, `tree print`, `tree build` and `tree merge`."""

from __future__ import annotations

import json

import pytest

from darknet_py.cli import main
from darknet_py.tree import WordTree, read_map
from tests.support.places import OFFICIAL, needs_official

TREE = "thing -1\nstuff -1\nn1 0\nn2 0\nn3 1\nn4 3\n"
NAMES = "thing\nstuff\nanimal\nvehicle\nwater\ntraffic light\n"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `tree ...` in a folder with x.tree and x.names: exit code, lines of stdout and of stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.tree").write_text(TREE)
    (tmp_path / "x.names").write_text(NAMES)

    def run(*arguments: object) -> tuple[int, list[str], list[str]]:
        code = main(["tree", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    run.folder = tmp_path
    return run


def test_check(run) -> None:
    code, out, err = run("check", "x.tree", "--names", "x.names")
    assert (code, err) == (0, [])
    assert out == [
        "x.tree: 6 nodes, 3 levels, 4 groups, 3 leaves, 2 nodes in the largest group", "x.tree: ok",
    ]  # fmt: skip
    code, out, _ = run("check", "x.tree", "--json")
    assert json.loads(out[0]) == {
        "ok": True, "nodes": 6, "levels": 3, "groups": 4, "leaves": 3, "largest_group": 2, "problems": [],
    }  # fmt: skip


def test_check_says_what_is_wrong(run) -> None:
    (run.folder / "x.names").write_text("thing\nstuff\n")
    (run.folder / "x.map").write_text("5\n6\n99\n")
    code, out, _ = run("check", "x.tree", "--names", "x.names", "--map", "x.map")
    assert code == 1
    assert out[0] == "x.tree: 6 nodes, but 2 names"
    assert out[1] == "x.map: 2 classes beyond the tree, the first 6"
    assert out[-1] == "x.tree: has errors"
    code, out, _ = run("check", "x.tree", "--map", "x.map", "--json")
    assert code == 1
    assert json.loads(out[0])["problems"] == ["x.map: 2 classes beyond the tree, the first 6"]
    (run.folder / "x.tree").write_text("a -1\nb 0\nc -1\n")
    code, out, err = run("check", "x.tree")
    assert (code, out) == (1, [])
    assert err == ["darknet-py: x.tree:3: the children of parent -1 do not follow each other"]


def test_print(run) -> None:
    code, out, _ = run("print", "x.tree")
    assert code == 0
    assert out == ["thing (0)", "  n1 (2)", "  n2 (3)", "    n4 (5)", "stuff (1)", "  n3 (4)"]
    _, out, _ = run("print", "x.tree", "--names", "x.names", "--depth", 2)
    assert out == ["thing (0)", "  animal (2 n1)", "  vehicle (3 n2) +1", "stuff (1)", "  water (4 n3)"]
    _, out, _ = run("print", "x.tree", "--depth", 1)
    assert out == ["thing (0) +3", "stuff (1) +1"]
    for root in ("vehicle", "n2", "3"):
        _, out, _ = run("print", "x.tree", "--names", "x.names", "--root", root)
        assert out == ["vehicle (3 n2)", "  traffic light (5 n4)"]
    _, out, _ = run("print", "x.tree", "--root", "n2", "--json")
    assert json.loads(out[0]) == [
        {"node": 3, "key": "n2", "name": "n2", "parent": 0}, {"node": 5, "key": "n4", "name": "n4", "parent": 3},
    ]  # fmt: skip


def test_print_of_what_is_not_there(run) -> None:
    assert run("print", "x.tree", "--root", "6")[2] == ["darknet-py: there is no node '6' in x.tree"]
    (run.folder / "x.names").write_text("thing\n")
    assert run("print", "x.tree", "--names", "x.names")[2] == ["darknet-py: x.names: 1 names, but x.tree has 6 nodes"]


def test_print_goes_as_deep_as_a_tree(run) -> None:
    (run.folder / "deep.tree").write_text("".join(f"n{n} {n - 1}\n" for n in range(1000)))
    code, out, _ = run("print", "deep.tree")
    assert (code, len(out)) == (0, 1000)
    assert out[-1].strip() == "n999 (999)"


def test_build(run) -> None:
    (run.folder / "kinds.txt").write_text("thing/animal/dog\ncat animal\ntraffic light\tthing\n")
    code, out, _ = run("build", "kinds.txt", "new")
    assert (code, out) == (0, ["5 nodes: new.tree, new.names"])
    assert (run.folder / "new.tree").read_text() == "thing -1\nanimal 0\ntraffic_light 0\ndog 1\ncat 1\n"
    assert (run.folder / "new.names").read_text() == "thing\nanimal\ntraffic light\ndog\ncat\n"
    assert run("check", "new.tree", "--names", "new.names")[0] == 0
    code, _, err = run("build", "kinds.txt", "new")
    assert (code, err) == (1, ["darknet-py: new.tree is there; --force writes over it"])
    assert run("build", "kinds.txt", "new", "--force", "--json")[0] == 0
    (run.folder / "kinds.txt").write_text("a b c\n")
    assert run("build", "kinds.txt", "other")[2][0].startswith("darknet-py: kinds.txt:1: `child parent`")
    assert not (run.folder / "other.tree").exists()


def test_merge_into_a_tree(run) -> None:
    (run.folder / "city.names").write_text("Traffic Light\nbus\nanimal\n")
    (run.folder / "lines.txt").write_text("bus n2\n")
    code, out, _ = run("merge", "new", "city.names", "--tree", "x.tree", "--names", "x.names", "--lines", "lines.txt")
    assert code == 0
    assert out == [
        "Traffic Light: 5 thing/vehicle/traffic light",
        "bus: 6 thing/vehicle/bus",
        "animal: 2 thing/animal",
        "7 nodes: new.tree, new.names, city-new.map, x-new.map",
    ]
    assert read_map(run.folder / "city-new.map") == (5, 6, 2)
    assert read_map(run.folder / "x-new.map") == (0, 1, 2, 3, 4, 5)
    assert WordTree.read(run.folder / "new.tree").parents == (-1, -1, 0, 0, 1, 3, 3)
    assert (run.folder / "new.names").read_text() == f"{NAMES}bus\n"


def test_merge_says_where_the_nodes_of_the_tree_went(run) -> None:
    (run.folder / "city.names").write_text("bus\n")
    (run.folder / "lines.txt").write_text("bus thing\n")
    assert run("merge", "new", "city.names", "--tree", "x.tree", "--lines", "lines.txt", "--json")[0] == 0
    assert read_map(run.folder / "x-new.map") == (0, 1, 2, 3, 5, 6)
    assert read_map(run.folder / "city-new.map") == (4,)


def test_merge_of_label_sets_alone(run) -> None:
    (run.folder / "lines.txt").write_text("a/b/dog\na/cat\nhound = dog\na/b/wolf\n")
    (run.folder / "one.names").write_text("cat\nhound\n")
    (run.folder / "two.names").write_text("dog\n")
    code, out, _ = run("merge", "new", "one.names", "two.names", "--lines", "lines.txt", "--json")
    assert code == 0
    assert json.loads(out[0]) == {
        "nodes": 4, "files": ["new.tree", "new.names", "one-new.map", "two-new.map"],
        "maps": {"one": [2, 3], "two": [3]},
    }  # fmt: skip
    assert (run.folder / "new.tree").read_text() == "a -1\nb 0\ncat 0\ndog 1\n"


def test_merge_that_cannot_be(run) -> None:
    (run.folder / "city.names").write_text("bus\n")
    assert run("merge", "new", "city.names")[:2] == (2, [])
    _, _, err = run("merge", "new", "city.names", "--tree", "x.tree")
    assert err == [
        "darknet-py: 1 labels have no node, or several: 'bus'; add lines such as `label = node` or `label parent`"
    ]
    (run.folder / "more").mkdir()
    (run.folder / "more/x.names").write_text("thing\n")
    _, _, err = run("merge", "new", "more/x.names", "--tree", "x.tree")
    assert err == ["darknet-py: x-new.map would be written twice: two of the files have the name x"]
    assert not (run.folder / "new.tree").exists()


def test_the_group_names_its_verbs(run) -> None:
    code, _, err = run()
    assert code == 2
    assert err == ["usage: darknet-py tree {check,print,build,merge,join} ..."]


@needs_official
def test_official_files(run) -> None:
    data = OFFICIAL / "data"
    code, out, _ = run(
        "check", data / "9k.tree", "--names", data / "9k.names", "--map", data / "coco9k.map", data / "inet9k.map"
    )
    assert code == 0
    assert "9418 nodes, 17 levels, 1846 groups, 7573 leaves, 149 nodes in the largest group" in out[0]
    _, out, _ = run("print", data / "9k.tree", "--names", data / "9k.names", "--root", "n02084071", "--depth", 2)
    assert out[:2] == ["dog (6912 n02084071)", "  pug (6919 n02110958)"]
    assert len(run("print", data / "9k.tree")[1]) == 9418
