"""Files of a run: pairs that always go together, and files that are none."""

from __future__ import annotations

import errno
import zipfile
from pathlib import Path

import pytest
import torch

from darknet_py import weights
from darknet_py.errors import WeightsError
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from darknet_py.train.checkpoint import Checkpoint, Saver, digest, resume_beside
from tests.support.drawn import classifier, detector

STATE = {"seed": 3, "average": 0.5, "stepper": {"seen": 4}, "history": {}}


class KilledError(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture
def network(tmp_path) -> Network:
    return Network(Graph.read(detector(tmp_path / "tiny.cfg")), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def saver(tmp_path) -> Saver:
    saver = Saver(tmp_path / "backup", "tiny")
    saver.prepare()
    return saver


def change(network: Network) -> None:
    with torch.no_grad():
        for value in network.parameters():
            value.add_(1)


def content(network: Network) -> list[torch.Tensor]:
    return [value.clone() for value in network.state_dict().values()]


def same(first: list[torch.Tensor], second: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_names_are_those_of_darknet(network, saver):
    network.seen = 77
    assert saver.numbered(network, 100).name == "tiny_100.weights"
    assert saver.backup(network, STATE).name == "tiny.backup"
    assert saver.final(network).name == "tiny_final.weights"
    assert Saver(saver.folder, "c", "").final(network).name == "c.weights"
    assert sorted(path.name for path in saver.folder.iterdir()) == [
        "c.weights", "tiny.backup", "tiny.resume", "tiny_100.weights", "tiny_final.weights"
    ]  # fmt: skip
    other = Network(network.graph)
    assert weights.load(other, saver.path).header.seen == 77
    assert same(content(network), content(other))


def test_a_checkpoint_gives_back_all_of_it(network, saver):
    saver.backup(network, STATE)
    checkpoint = Checkpoint.read(resume_beside(saver.path))
    assert (checkpoint.seed, checkpoint.values["average"]) == (3, 0.5)
    assert checkpoint.belongs_to(saver.path)
    other = Network(network.graph)
    checkpoint.restore(other)
    assert same(content(network), content(other))


def test_another_backup_is_not_taken_for_its_own(network, saver):
    saver.backup(network, STATE)
    change(network)
    weights.save(network, saver.path)
    assert not Checkpoint.read(resume_beside(saver.path)).belongs_to(saver.path)


@pytest.mark.parametrize("replaced", range(3))
def test_killed_between_two_files_they_still_go_together(network, saver, monkeypatch, replaced):
    saver.backup(network, STATE)
    before = content(network)
    change(network)
    after = content(network)
    done, replace = [], Path.replace

    def killing(path: Path, target: Path) -> Path:
        if len(done) == replaced:
            raise KilledError
        done.append(target)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killing)
    with pytest.raises(KilledError):
        saver.backup(network, {**STATE, "seed": 4})
    monkeypatch.undo()
    checkpoint = Checkpoint.read(resume_beside(saver.path))
    assert checkpoint.belongs_to(saver.path)
    assert checkpoint.seed == (4 if replaced == 2 else 3)
    checkpoint.restore(network)
    assert same(content(network), after if replaced == 2 else before)


@pytest.mark.parametrize("what", ["torch.save", "darknet_py.weights.save"])
def test_a_full_disk_leaves_the_old_files(network, saver, monkeypatch, what):
    def full(*_args, **_kwargs):
        raise (
            OSError(errno.ENOSPC, "No space left on device")
            if what == "torch.save"
            else WeightsError(f"{saver.folder}/.tiny.backup.part: cannot be written: No space left on device")
        )

    saver.backup(network, STATE)
    before = {path: digest(path) for path in saver.folder.iterdir()}
    change(network)
    monkeypatch.setattr(what, full)
    with pytest.raises(WeightsError, match=r"tiny\.(backup|resume): cannot be written: No space left on device"):
        saver.backup(network, STATE)
    assert {path: digest(path) for path in saver.folder.iterdir()} == before


def test_half_written_files_of_a_killed_run_go_and_those_of_others_stay(tmp_path):
    folder = tmp_path / "backup"
    folder.mkdir()
    halves = [".tiny.backup.part", ".tiny.backup.ab12_c.part", ".tiny_100.weights.xyz.part", ".tiny.resume.q1.part"]
    others = [".tiny2.backup.part", ".big_tiny.resume.q1.part", "tiny.backup", ".tiny.png.x.part", "tiny.part"]
    for name in (*halves, *others, "..tiny.backup.part.ff.part"):
        (folder / name).touch()
    Saver(folder, "tiny").prepare()
    assert sorted(path.name for path in folder.iterdir()) == sorted(others)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="file/backup: weights cannot be saved here"):
        Saver(tmp_path / "file" / "backup", "tiny").prepare()


def test_of_another_network(network, saver, tmp_path):
    saver.backup(network, STATE)
    checkpoint = Checkpoint.read(resume_beside(saver.path))
    other = Network(Graph.read(detector(tmp_path / "other.cfg", widths=(4, 8, 9))))
    with pytest.raises(WeightsError, match=r"tiny\.resume: layers\.4\..* does not fit .*other\.cfg; remove it"):
        checkpoint.restore(other)
    smaller = Network(Graph.read(classifier(tmp_path / "smaller.cfg")))
    with pytest.raises(WeightsError, match="does not fit"):
        checkpoint.restore(smaller)


class Evil:
    def __reduce__(self):
        return (print, ("code was run",))


@pytest.mark.parametrize("kind", ["text", "empty", "list", "format", "seed", "code", "compressed", "short"])
def test_what_is_no_resume_file(tmp_path, kind, capsys):
    path = tmp_path / "tiny.resume"
    things = {
        "list": [1],
        "format": {"format": 0, "seed": 1},
        "seed": {"format": 1},
        "code": {"format": 1, "x": Evil()},
    }
    if kind in things:
        torch.save(things[kind], path)
    else:
        path.write_bytes(b"some text" if kind == "text" else b"")
    if kind in {"compressed", "short"}:
        torch.save({"format": 1, "seed": 1, "x": torch.zeros(1000)}, path)
        if kind == "short":
            path.write_bytes(path.read_bytes()[:-500])
        else:
            with zipfile.ZipFile(path) as old:
                records = {name: old.read(name) for name in old.namelist()}
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
                for name, data in records.items():
                    new.writestr(name, data)
    with pytest.raises(WeightsError, match=r"tiny\.resume: it is .*remove it"):
        Checkpoint.read(path)
    assert "code was run" not in capsys.readouterr().out


def test_a_resume_file_that_is_not_there(tmp_path):
    with pytest.raises(WeightsError, match=r"tiny\.resume: cannot be read: No such file"):
        Checkpoint.read(tmp_path / "tiny.resume")
