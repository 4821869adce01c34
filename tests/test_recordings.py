"""The recordings that lie here are those that their README lists."""

from __future__ import annotations

import re

import pytest

from tests.support.places import GOLDEN

LISTS = {
    folder: set(re.split(r",\s+", names.strip()))
    for folder, names in re.findall(
        r"(?m)^`(\w+)/`: ((?:.+\n)+)", (GOLDEN / "README.md").read_text(encoding="utf-8").partition("## Cases")[2]
    )
}


def test_every_folder_has_its_list():
    assert LISTS.keys() == {path.name for path in GOLDEN.iterdir() if path.is_dir()}


@pytest.mark.parametrize("folder", LISTS)
def test_all_recordings_are_here(folder):
    """A case is a cfg or an .npz; a weights file belongs to one of them."""
    there = {path.name.partition(".")[0] for path in (GOLDEN / folder).iterdir() if path.suffix in (".cfg", ".npz")}
    assert there == LISTS[folder]
    owners = {path.name.partition(".")[0] for path in (GOLDEN / folder).glob("*.weights")}
    assert owners <= there
