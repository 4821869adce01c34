from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from darknet_py.errors import CfgError, DarknetError
from darknet_py.tree import TreeSoftmax, TreeWalk, WordTree, read_map
from darknet_py.tree.wordtree import MAX_DEPTH
from tests.support.places import GOLDEN, OFFICIAL

BOXES = GOLDEN / "boxes"
DATA = OFFICIAL / "data"
TINY = WordTree.read(BOXES / "tiny.tree")
official = pytest.mark.skipif(not DATA.is_dir(), reason="the official data files are not here")
no_deadline = settings(deadline=None)  # the first call of a torch function can be slow


@st.composite
def trees(draw: st.DrawFn) -> WordTree:
    parents = [-1] * draw(st.integers(1, 5))
    for _ in range(draw(st.integers(0, 8))):
        childless = sorted(set(range(len(parents))) - set(parents))
        parents += [draw(st.sampled_from(childless))] * draw(st.integers(1, 6))
    return WordTree(tuple(f"n{node}" for node in range(len(parents))), tuple(parents))


def values(tree: WordTree, seed: int, *shape: int, coarse: bool = False) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    found = torch.rand(*shape, len(tree.names), generator=rng)
    return (found * 4).round() / 4 if coarse else found


def groups(tree: WordTree) -> list[list[int]]:
    """Runs of equal parents, found afresh."""
    found: list[list[int]] = []
    for node, parent in enumerate(tree.parents):
        if node and parent == tree.parents[node - 1]:
            found[-1].append(node)
        else:
            found.append([node])
    return found


def slow_softmax(tree: WordTree, row: list[float]) -> list[float]:
    result = [0.0] * len(row)
    for group in groups(tree):
        powers = [math.exp(row[node] - max(row[n] for n in group)) for node in group]
        for node, power in zip(group, powers, strict=True):
            result[node] = power / sum(powers)
    return result


def slow_absolute(tree: WordTree, row: np.ndarray) -> np.ndarray:
    result = row.copy()
    for node, parent in enumerate(tree.parents):
        if parent >= 0:
            result[node] *= result[parent]
    return result


def slow_walk(tree: WordTree, row: np.ndarray, threshold: float) -> int:
    """hierarchy_top_prediction, step by step, in float32."""
    p, group = np.float32(1), 0
    while True:
        top, best = np.float32(0), 0
        for node in groups(tree)[group]:
            if row[node] > top:
                top, best = row[node], node
        if p * top > np.float32(threshold):
            p *= top
            if tree.children[best] < 0:
                return best
            group = tree.children[best]
        elif group == 0:
            return best
        else:
            return tree.parents[groups(tree)[group][0]]


def test_tiny_tree() -> None:
    assert TINY.names[:4] == ("root_a", "root_b", "root_c", "dog")
    assert TINY.parents == (-1, -1, -1, 0, 0, 0, 1, 1, 3, 3)
    assert TINY.group_sizes == (3, 3, 2, 2)
    assert TINY.group_offsets == (0, 3, 6, 8)
    assert TINY.group == (0, 0, 0, 1, 1, 1, 2, 2, 3, 3)
    assert TINY.children == (1, 2, -1, 3, -1, -1, -1, -1, -1, -1)
    assert list(TINY.leaves) == [False, False, True, False, True, True, True, True, True, True]
    assert TINY.depths == (0, 0, 0, 1, 1, 1, 1, 1, 2, 2)
    assert TINY.depth == 3
    assert TINY.path(8) == [0, 3, 8]
    assert TINY.path(2) == [2]


@given(trees())
def test_groups_are_the_runs_of_siblings(tree: WordTree) -> None:
    runs = groups(tree)
    assert [len(run) for run in runs] == list(tree.group_sizes)
    assert [run[0] for run in runs] == list(tree.group_offsets)
    for node, parent in enumerate(tree.parents):
        assert node in runs[tree.group[node]]
        assert tree.children[parent] == tree.group[node] if parent >= 0 else tree.group[node] == 0
        assert tree.leaves[node] == (node not in tree.parents)


@no_deadline
@given(trees(), st.integers(0, 99), st.sampled_from([1.0, 0.5, 3.0]))
def test_softmax_is_one_inside_each_group(tree: WordTree, seed: int, temperature: float) -> None:
    logits = values(tree, seed, 2, 3).double() * 20 - 10
    found = TreeSoftmax(tree)(logits, -1, temperature)
    for row, expected in zip(found.flatten(0, 1), logits.flatten(0, 1), strict=True):
        slow = slow_softmax(tree, (expected / temperature).tolist())
        torch.testing.assert_close(row, torch.tensor(slow, dtype=torch.float64))


def test_softmax_along_any_dimension_and_of_large_values() -> None:
    softmax = TreeSoftmax(TINY)
    logits = torch.randn(2, 3, 10, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = softmax(logits.movedim(2, -1), -1).movedim(-1, 2)
    torch.testing.assert_close(softmax(logits, 2), expected)
    large = softmax(torch.tensor([1e4, -1e4, -1e4, -1e4, -1e4 + 1, -1e5, 500, 500, 0, 0]), 0)
    torch.testing.assert_close(large[[0, 1, 6, 8]], torch.tensor([1, 0, 0.5, 0.5]))
    torch.testing.assert_close(large[4], torch.tensor(1 / (1 + math.exp(-1))))


def test_softmax_differentiates() -> None:
    logits = torch.randn(2, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: TreeSoftmax(TINY)(x, 1, 2.0), logits)
    assert torch.autograd.gradcheck(TreeWalk(TINY).absolute, logits)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        tree = WordTree.read(BOXES / "tiny.tree")  # never used before the export
        self.softmax, self.walk = TreeSoftmax(tree), TreeWalk(tree)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        absolute = self.walk.absolute(self.softmax(x, 2).movedim(2, -1))
        return absolute, self.walk(absolute, 0.5)


def test_softmax_absolute_and_walk_can_be_exported() -> None:
    head = Head()
    batch = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(head, (torch.randn(2, 3, 10, 4, 4),), dynamic_shapes=batch)
    x = torch.randn(5, 3, 10, 4, 4)
    for found, wanted in zip(program.module()(x), head(x), strict=True):
        torch.testing.assert_close(found, wanted)
    assert not head.state_dict()
    assert not program.state_dict


@no_deadline
@given(trees(), st.integers(0, 99))
def test_absolute_multiplies_the_ancestors_bit_for_bit(tree: WordTree, seed: int) -> None:
    rows = values(tree, seed, 3, 2)
    before = rows.clone()
    found = TreeWalk(tree).absolute(rows)
    expected = [slow_absolute(tree, row) for row in rows.flatten(0, 1).numpy()]
    assert torch.equal(found.flatten(0, 1), torch.tensor(np.stack(expected)))
    assert torch.equal(rows, before)
    leaves = torch.tensor([float(leaf) for leaf in tree.leaves])
    assert torch.equal(TreeWalk(tree).leaves(rows), found * leaves)


@settings(max_examples=300, deadline=None)
@given(trees(), st.integers(0, 99), st.booleans(), st.sampled_from([0.0, 0.05, 0.25, 0.5, 0.9]), st.booleans())
def test_walk_is_the_loop_of_the_c_program(
    tree: WordTree, seed: int, coarse: bool, threshold: float, multiplied: bool
) -> None:
    walk, rows = TreeWalk(tree), values(tree, seed, 4, 2, coarse=coarse)
    rows = walk.absolute(rows) if multiplied else rows
    expected = [slow_walk(tree, row, threshold) for row in rows.flatten(0, 1).numpy()]
    found = walk(rows, threshold)
    assert found.dtype == torch.int64
    assert found.shape == (4, 2)
    assert found.flatten().tolist() == expected


@settings(max_examples=100, deadline=None)
@given(trees(), st.integers(0, 99), st.sampled_from([0.0, 0.25, 0.9]), st.sampled_from([0.25, 1.0, 2.0]))
def test_walk_of_some_places_is_that_of_absolute_values_there(
    tree: WordTree, seed: int, threshold: float, scale: float
) -> None:
    walk = TreeWalk(tree)
    rows = values(tree, seed, 4, 6, coarse=True) * scale
    rows.view(-1)[seed % rows.numel()] = torch.tensor([torch.nan, torch.inf, -1.0])[seed % 3]
    rows = rows.unflatten(1, (2, 3)).transpose(0, 2)  # (3, 2, 4, C)
    whole = walk(walk.absolute(rows), threshold)
    assert whole.shape == (3, 2, 4)
    for n in range(3):
        assert torch.equal(walk(walk.absolute(rows[n]), threshold), whole[n])
    where = (torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(seed)) < 0.4).nonzero(as_tuple=True)
    assert torch.equal(walk.at(rows, where, threshold), whole[where])
    assert walk.at(rows, tuple(index[:0] for index in where), threshold).shape == (0,)


def test_walk_of_one_row_of_no_rows_and_of_nan() -> None:
    walk, row = TreeWalk(TINY), torch.tensor([0.9, 0.1, 0, 0.6, 0.3, 0.1, 1, 0, 0.9, 0.1])
    assert walk(row, 0.5).tolist() == 3
    assert walk(row, 0.4).tolist() == 8
    assert walk(row, 0.95).tolist() == 0
    assert walk(torch.zeros(0, 10), 0.5).shape == (0,)
    assert walk(torch.full((10,), torch.nan), 0.5).tolist() == 0
    row[1], row[5] = torch.nan, -1
    assert walk(row, 0.4).tolist() == 8


def test_a_tree_read_in_inference_mode_can_train() -> None:
    with torch.inference_mode():
        tree = WordTree.read(BOXES / "tiny.tree")
        softmax, walk = TreeSoftmax(tree), TreeWalk(tree)
        walk.absolute(torch.rand(2, 10))
    x = torch.randn(2, 10, requires_grad=True)
    walk.leaves(softmax(x, 1)).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_tables_stay_whole_numbers_and_follow_their_module(dtype: torch.dtype) -> None:
    walk = TreeWalk(TINY).to(dtype).to("meta")
    assert {(table.dtype, table.device.type) for table in walk.buffers()} == {(torch.int64, "meta")}
    assert not walk.state_dict()


@pytest.mark.parametrize("name", ["boxes_tree", "boxes_tree_bold"])
def test_decoding_chooses_the_recorded_classes(name: str) -> None:
    with np.load(BOXES / f"{name}.npz") as recorded:
        head, before = torch.from_numpy(recorded["head"]), torch.from_numpy(recorded["before_nms"])
        hier, thresh = float(recorded["hier_thresh"]), float(recorded["thresh"])
    entries = head.view(3, 15, -1).permute(2, 0, 1).flatten(0, 1)  # (cells * anchors, 15)
    conditional = entries[:, 5:]
    torch.testing.assert_close(conditional[:, 3:6].sum(1), torch.ones(len(entries)))
    label = TreeWalk(TINY)(TreeWalk(TINY).absolute(conditional), hier)
    sure = entries[:, 4] > thresh
    scores = torch.zeros(len(entries), 10)
    scores[sure, label[sure]] = entries[sure, 4]
    count = (scores > 0).sum(0)
    assert torch.equal(count, (before[:, 5:] > 0).sum(0))
    torch.testing.assert_close(scores.sum(0), before[:, 5:].sum(0))
    assert (count > 0).sum() > 1


@pytest.mark.parametrize("label", [-1, 10])
def test_a_class_outside_the_tree_is_refused(label: int) -> None:
    with pytest.raises(DarknetError, match=f"no class {label} "):
        TINY.path(label)


@given(trees(), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_parse_reads_what_is_written(tree: WordTree, newline: str, marked: bool, ended: bool) -> None:
    lines = [f"{name} {parent}" for name, parent in zip(tree.names, tree.parents, strict=True)]
    text = "\ufeff" * marked + newline.join(lines) + newline * ended
    assert WordTree.parse(text) == tree


def test_parse_takes_what_sscanf_takes() -> None:
    tree = WordTree.parse("  a\t-1 \nb\n\tc\u00a0d +1 rest of the line\nc  0001")
    assert tree.names == ("a", "b", "c\u00a0d", "c")
    assert tree.parents == (-1, -1, 1, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a -1\nb 1", "x.tree:2: parent 1 does not come before its child, node 1"),
        ("a 0", "x.tree:1: parent 0 does not come before its child, node 0"),
        ("a -1\nb 2\nc -1", "x.tree:2: parent 2 does not come before its child, node 1"),
        ("a -1\nb 7", "x.tree:2: parent 7 is neither a node, 0 to 1, nor -1"),
        ("a -1\nb -2", "x.tree:2: parent -2 is neither a node, 0 to 1, nor -1"),
        ("a -1\nb 0\nc -1", "x.tree:3: the children of parent -1 do not follow each other"),
        ("a\nb\nc 0\nd 1\ne 0", "x.tree:5: the children of parent 0 do not follow each other"),
        ("a -1\nb one", "x.tree:2: the parent's number was expected, not 'one'"),
        ("a -1\nb 0.5", "x.tree:2: the parent's number was expected, not '0.5'"),
        ("a -1\nb " + "9" * 5000, "x.tree:2: the parent's number was expected, not '" + "9" * 40 + "'"),
        ("a -1\n\nb 0", "x.tree:2: a line `name parent` was expected, but it is empty"),
        ("a -1\n \r\n", "x.tree:2: a line `name parent` was expected, but it is empty"),
        ("", "x.tree: the file is empty"),
        ("\ufeff\n", "x.tree: the file is empty"),
        ("a -1\0\n", "x.tree: this is not a text file"),
        ("a\n" * 1_000_001, "x.tree: more than 1000000 lines; is this the right file?"),
        (
            "\n".join(f"a {n - 1}" for n in range(MAX_DEPTH + 1)),
            "x.tree: more than 1000 levels; is this the right file?",
        ),
    ],
)
def test_parse_says_what_is_wrong_and_where(text: str, message: str) -> None:
    with pytest.raises(CfgError) as caught:
        WordTree.parse(text, "x.tree")
    assert str(caught.value) == message


@given(st.text(max_size=60))
def test_parse_of_anything_is_a_tree_or_an_error(text: str) -> None:
    try:
        tree = WordTree.parse(text)
    except CfgError:
        return
    assert sum(tree.group_sizes) == len(tree.names)


def test_a_tree_needs_a_name_for_each_node() -> None:
    with pytest.raises(CfgError, match="a name for each"):
        WordTree(("a",), (-1, -1))


def test_read_says_which_file(tmp_path: Path) -> None:
    with pytest.raises(CfgError, match=r"absent\.tree: cannot be read: No such file"):
        WordTree.read(tmp_path / "absent.tree")
    path = tmp_path / "large.tree"
    with path.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(CfgError, match=r"large\.tree: larger than 67108864 bytes"):
        WordTree.read(path)


def test_read_map(tmp_path: Path) -> None:
    path = tmp_path / "x.map"
    path.write_bytes(b"\xef\xbb\xbf5177\r\n 12 # a comment\n+3x\n0")
    assert read_map(path) == (5177, 12, 3, 0)


@pytest.mark.parametrize("line", ["", "dog", "-4", "9" * 40])
def test_read_map_refuses_what_is_no_class_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.map"
    path.write_text(f"1\n{line}\n2\n")
    with pytest.raises(CfgError, match=r"x\.map:2: a class number was expected"):
        read_map(path)


@official
def test_official_tree() -> None:
    start = time.perf_counter()
    tree = WordTree.read(DATA / "9k.tree")
    assert time.perf_counter() - start < 2  # takes 20 ms
    assert len(tree.names) == 9418
    assert len(tree.group_sizes) == 1846
    assert max(tree.group_sizes) == 149
    assert tree.depth == 17
    logits = torch.randn(3, 9418, generator=torch.Generator().manual_seed(0))
    conditional = TreeSoftmax(tree)(logits, 1)
    sums = torch.zeros(3, 1846).index_add(1, torch.tensor(tree.group), conditional)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    walk = TreeWalk(tree)
    torch.testing.assert_close(walk.leaves(conditional).sum(1), torch.ones(3))
    assert walk(walk.absolute(conditional), 0.1).shape == (3,)


@official
@pytest.mark.parametrize(("name", "count"), [("coco9k.map", 80), ("inet9k.map", 200)])
def test_official_maps(name: str, count: int) -> None:
    classes = read_map(DATA / name)
    assert len(classes) == count
    assert max(classes) < 9418
