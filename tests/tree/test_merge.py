"""Trees built of lines, and label sets merged into them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darknet_py.cfg import read_names
from darknet_py.errors import CfgError, DarknetError
from darknet_py.tree import WordTree, read_map
from darknet_py.tree.hypernyms import NAME_BYTES, Kinds
from darknet_py.tree.merge import Merged, faults, merge, tree_text
from tests.support.places import OFFICIAL, needs_official

ANIMALS = """
# what is a kind of what
entity/animal/dog
entity/animal/cat
poodle dog
traffic light\tentity
"""


def paths(merged: Merged) -> list[str]:
    tree = merged.tree
    return ["/".join(tree.names[above] for above in tree.path(node)) for node in range(len(tree.names))]


@st.composite
def kinds(draw: st.DrawFn) -> Kinds:
    """Names of which each may stand under some of those before it."""
    count = draw(st.integers(1, 12))
    lines = []
    for name in range(count):
        above = draw(st.lists(st.integers(0, name - 1), max_size=3)) if name else []
        lines += [f"n{name} n{parent}" for parent in above] or [f"n{name}"]
    return Kinds.parse("\n".join(draw(st.permutations(lines))))


def test_lines_become_a_tree() -> None:
    merged = merge(Kinds.parse(ANIMALS))
    assert tree_text(merged.tree) == "entity -1\nanimal 0\ntraffic_light 0\ndog 1\ncat 1\npoodle 3\n"
    assert merged.names[merged.tree.names.index("traffic_light")] == "traffic light"
    assert merged.maps == ()


@given(kinds())
@settings(max_examples=80, deadline=None)
def test_every_name_stands_once_under_one_that_it_may_stand_under(lines: Kinds) -> None:
    merged = merge(lines, [list(lines.above)])
    tree = merged.tree
    assert sorted(tree.names) == sorted(lines.above)
    for name, parent in zip(tree.names, tree.parents, strict=True):
        assert tree.names[parent] in lines.above[name] if parent >= 0 else not lines.above[name]
    assert WordTree.parse(tree_text(tree)) == tree
    assert [tree.names[node] for node in merged.maps[0]] == list(lines.above)


@given(kinds(), st.data())
@settings(max_examples=80, deadline=None)
def test_only_labels_and_what_is_above_them_are_there(lines: Kinds, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from(sorted(lines.above)), min_size=1, unique=True))
    tree = merge(lines, [labels]).tree
    assert set(labels) <= set(tree.names)
    without_children = {tree.names[node] for node in range(len(tree.names)) if tree.leaves[node]}
    assert without_children <= set(labels)


@given(kinds(), st.data())
@settings(max_examples=80, deadline=None)
def test_a_base_keeps_its_nodes_and_their_order(lines: Kinds, data: st.DataObject) -> None:
    base = merge(lines).tree
    more = data.draw(st.lists(st.sampled_from(base.names), max_size=4))
    added = Kinds.parse("\n".join(f"new{n} {parent}" for n, parent in enumerate(more)))
    merged = merge(added, [[f"new{n}" for n in range(len(more))]], base)
    old = [name for name in merged.tree.names if not name.startswith("new")]
    assert old == list(base.names)
    assert len(merged.tree.names) == len(base.names) + len(more)
    above = {
        name: merged.tree.names[parent] for name, parent in zip(merged.tree.names, merged.tree.parents, strict=True)
    }
    assert [above[f"new{n}"] for n in range(len(more))] == more
    before = {name: base.parents[node] for node, name in enumerate(base.names)}
    assert all(above[name] == base.names[parent] for name, parent in before.items() if parent >= 0)


def test_of_several_ways_the_one_with_the_fewest_new_nodes_is_taken() -> None:
    lines = Kinds.parse("a/b/c/dog\nx/dog\nx/y/z/cat\na/cat\na/b/c/wolf\na/b/c/fox")
    assert "a/b/c/dog" in paths(merge(lines, [["wolf", "dog"]]))  # none is new: c is there for the wolf
    assert "x/dog" in paths(merge(lines, [["dog"]]))  # one is, not three
    assert "a/cat" in paths(merge(lines, [["wolf", "cat"]]))
    assert "a/b/c/dog" in paths(merge(lines, [["dog", "wolf"]]))  # the wolf, with its one way, comes first
    same = Kinds.parse("a/dog\nb/dog")
    assert paths(merge(same, [["dog"]])) == ["a", "a/dog"]  # of equal ways the first


def test_label_sets_share_nodes() -> None:
    lines = Kinds.parse(ANIMALS + "hound = dog\nDog = dog\n")
    merged = merge(lines, [["cat", "hound", "traffic light"], ["Dog", "animal"]])
    tree = merged.tree
    assert [[tree.names[node] for node in nodes] for nodes in merged.maps] == [
        ["cat", "dog", "traffic_light"], ["dog", "animal"],
    ]  # fmt: skip
    assert "poodle" not in tree.names


def test_labels_are_found_by_how_nodes_are_called() -> None:
    base = WordTree(("n1", "n2", "n3", "n4"), (-1, 0, 0, 0))
    merged = merge(Kinds(), [["Traffic_Light", "n2"]], base, ("thing", "dog", "crane", "traffic light"))
    assert merged.maps == ((3, 1),)
    assert merged.names == ("thing", "dog", "crane", "traffic light")
    twice = ("thing", "crane", "crane", "dog")
    with pytest.raises(DarknetError, match=re.escape("1 labels have no node, or several: 'crane' (n2, n3); add lines")):
        merge(Kinds(), [["crane"]], base, twice)
    assert merge(Kinds.parse("crane = n3"), [["crane"]], base, twice).maps == ((2,),)
    assert merge(Kinds.parse("kran = dog"), [["kran"]], base, twice).maps == ((3,),)


def test_new_nodes_go_where_lines_say_and_keep_their_names() -> None:
    base = WordTree(("n1", "n2"), (-1, 0))
    lines = Kinds.parse("n1/pole/traffic light\nrobot\n")
    merged = merge(lines, [["traffic light", "robot"]], base, ("thing", "dog"))
    assert paths(merged) == ["n1", "robot", "n1/n2", "n1/pole", "n1/pole/traffic_light"]
    assert merged.names == ("thing", "robot", "dog", "pole", "traffic light")
    assert merged.maps == ((4, 1),)


def test_labels_without_a_node_are_listed() -> None:
    labels = [f"l{n}" for n in range(9)]
    listed = "9 labels have no node, or several: 'l0', 'l1', 'l2', 'l3', 'l4' and 4 more"
    with pytest.raises(DarknetError, match=re.escape(listed)):
        merge(Kinds(), [labels], WordTree(("a",), (-1,)))
    with pytest.raises(DarknetError, match="no names to make a tree of"):
        merge(Kinds())
    with pytest.raises(DarknetError, match="has 1 nodes, but there are 2 names"):
        merge(Kinds(), [["a"]], WordTree(("a",), (-1,)), ("b", "c"))
    with pytest.raises(CfgError, match="2 nodes have the name 'a'"):
        merge(Kinds(), [["a"]], WordTree(("a", "a"), (-1, -1)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b c", "x:1: `child parent` or top/.../child was expected, not 'a b c'"),
        ("a\n\nb//c", "x:3: a name of 1 to 255 bytes was expected, not ''"),
        ("a\t", None),
        ("\ta", None),
        ("= a", "x:1: a name of 1 to 255 bytes was expected, not ''"),
        ("b = a\na = ", "x:2: a name of 1 to 255 bytes was expected, not ''"),
        ("a" * (NAME_BYTES + 1), "x:1: a name of 1 to 255 bytes was expected, not 'aaaaaaaa"),
        ("a a", "x: these names are kinds of each other: a - a"),
        ("a b\nb c\nc a", "x: these names are kinds of each other: "),
        ("a\n" * 1_000_001, "x: more than 1000000 lines; is this the right file?"),
    ],
)
def test_lines_that_are_wrong(text: str, message: str | None) -> None:
    if message is None:
        Kinds.parse(text, "x")
        return
    with pytest.raises(CfgError, match=re.escape(message)):
        Kinds.parse(text, "x")


@given(st.text(alphabet="ab/= \t\n#", max_size=60))
def test_any_lines_are_a_tree_or_an_error(text: str) -> None:
    try:
        tree = merge(Kinds.parse(text)).tree
    except DarknetError:
        return
    assert len(set(tree.names)) == len(tree.names)


def test_twenty_thousand_lines_take_a_moment() -> None:
    lines = [f"w{n} c{n % 1000}" for n in range(20_000)] + [f"c{n} top{n % 7}" for n in range(1000)]
    start = time.perf_counter()
    assert len(merge(Kinds.parse("\n".join(lines))).tree.names) == 21_007
    assert time.perf_counter() - start < 10  # takes 0.2 s


def test_faults() -> None:
    tree = WordTree(("a", "b" * 256), (-1, -1), "x.tree")
    assert list(faults(tree)) == ["x.tree:2: the name is longer than 255 bytes"]
    assert list(faults(WordTree(("a", "b"), (-1, 0), "x.tree"), ("one", " ", "three"))) == [
        "x.tree: 2 nodes, but 3 names", "x.tree: node 1 has an empty name",
    ]  # fmt: skip


@needs_official
def test_the_official_tree_stays_as_it_is() -> None:
    base, names = WordTree.read(OFFICIAL / "data/9k.tree"), read_names(OFFICIAL / "data/9k.names")
    assert not list(faults(base, names))
    merged = merge(Kinds(), (), base, names)
    assert merged.tree == base
    assert merged.names == names
    assert tree_text(base) == (OFFICIAL / "data/9k.tree").read_text()


@needs_official
def test_lines_give_the_official_map_of_coco() -> None:
    base, names = WordTree.read(OFFICIAL / "data/9k.tree"), read_names(OFFICIAL / "data/9k.names")
    labels, nodes = read_names(OFFICIAL / "data/coco.names"), read_map(OFFICIAL / "data/coco9k.map")
    lines = Kinds.parse("\n".join(f"{label} = {base.names[node]}" for label, node in zip(labels, nodes, strict=True)))
    assert merge(lines, [labels], base, names).maps == (nodes,)
    with pytest.raises(DarknetError, match=r"37 labels have no node, or several: 'car' .n02960352, n02959942, "):
        merge(Kinds(), [labels], base, names)
