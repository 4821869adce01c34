"""`darknet-py download` against a local server."""

from __future__ import annotations

import functools
import http.server
import json
import threading

import pytest

from darknet_py.cli import main
from tests.support.places import GOLDEN


@pytest.fixture
def mirror(tmp_path):
    """A mirror that has the model `tiny`: a small recorded network under its name."""
    root = tmp_path / "mirror"
    for folder in ("cfg", "data"):
        (root / folder).mkdir(parents=True)
    (root / "cfg/tiny.cfg").write_bytes((GOLDEN / "layers/avgpool_softmax.cfg").read_bytes())
    (root / "cfg/imagenet1k.data").write_text("classes=10\nnames=data/imagenet.shortnames.list\n")
    for name in ("imagenet.shortnames.list", "imagenet.labels.list"):
        (root / "data" / name).write_text("".join(f"class {n}\n" for n in range(10)))
    (root / "tiny.weights").write_bytes((GOLDEN / "layers/avgpool_softmax.weights").read_bytes())

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Stay silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=root))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield root, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_model_comes_with_its_texts_and_runs(mirror, tmp_path, capsys, monkeypatch):
    _, address = mirror
    folder = tmp_path / "here"
    assert main(["download", "tiny", "--mirror", address, "--folder", str(folder), "--json"]) == 0
    files = json.loads(capsys.readouterr().out)
    assert files["weights"] == str(folder / "tiny.weights")
    assert (folder / "cfg/tiny.cfg").is_file()
    monkeypatch.chdir(folder)
    assert main(["check", "cfg/tiny.cfg", "tiny.weights", "cfg/imagenet1k.data"]) == 0


def test_weights_that_do_not_fit_the_cfg_are_refused(mirror, tmp_path, capsys):
    root, address = mirror
    (root / "tiny.weights").write_bytes((root / "tiny.weights").read_bytes()[:-8])
    assert main(["download", "tiny", "--mirror", address, "--folder", str(tmp_path / "here")]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "tiny.weights" in error
    assert not (tmp_path / "here/tiny.weights").exists()


def test_unknown_names_and_the_list(capsys):
    assert main(["download", "yolov22"]) == 1
    assert "yolov2" in capsys.readouterr().err
    assert main(["download"]) == 0
    assert "yolo9000" in capsys.readouterr().out.split()
