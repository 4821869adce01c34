"""docs/layers.md says what the code declares."""

from __future__ import annotations

from pathlib import Path

from darknet_py.cfg.keys import fields_of
from darknet_py.layers import REGISTRY
from darknet_py.network.net import Net
from tools import make_layer_docs as tool

ROOT = Path(__file__).parents[2]


def test_the_file_is_current():
    assert tool.main(["--check"]) == 0, "run python -m tools.make_layer_docs"
    assert (ROOT / "docs" / "layers.md").read_text(encoding="utf-8") == tool.document()


def test_every_section_and_key_is_in_it():
    text = tool.document()
    for name in ("net", "network", *REGISTRY):
        assert f"[{name}]" in text
    for schema in (Net, *REGISTRY.values()):
        for key, field in fields_of(schema).items():
            assert any(
                line.startswith(f"| `{key}` | ") and line.endswith(f" | {field.metadata['doc']} |")
                for line in text.splitlines()
            )


def test_check_compares_and_writes_nothing(tmp_path, capsys):
    path = tmp_path / "docs" / "layers.md"
    assert tool.main(["--check", str(path)]) == 1
    assert "is not current: run python -m tools.make_layer_docs" in capsys.readouterr().out
    assert not path.exists()
    assert tool.main([str(path)]) == 0
    assert tool.main(["--check", str(path)]) == 0
    path.write_text(tool.document() + "x", encoding="utf-8")
    assert tool.main(["--check", str(path)]) == 1
    assert capsys.readouterr().out.count("\n") == 1


def test_no_line_of_a_table_is_broken():
    for line in tool.document().splitlines():
        if line.startswith("|"):
            assert line.count("|") in (3, 5)  # activations, keys
