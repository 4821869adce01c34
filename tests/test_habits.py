"""What stands around the package: workflows, forms for issues, hooks and the citation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import darknet_py

ROOT = Path(__file__).parents[1]
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
TEXTS = [ROOT / ".pre-commit-config.yaml", ROOT / "CITATION.cff", *sorted((ROOT / ".github").rglob("*.yml"))]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def read(path: Path) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", TEXTS, ids=named)
def test_it_can_be_read(path):
    assert read(path)
    assert path.read_text(encoding="utf-8").endswith("\n")


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_workflows_may_only_read(path):
    workflow = read(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert job.get("permissions", {}) in ({}, {"contents": "read"})


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_actions_are_those_of_one_commit(path):
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", line)] == []


def test_the_versions_of_python_that_are_tested_are_those_of_the_classifiers():
    matrix = read(ROOT / ".github" / "workflows" / "test.yml")["jobs"]["tests"]["strategy"]["matrix"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", project)


@pytest.mark.parametrize("path", FORMS, ids=named)
def test_forms_ask_what_they_should(path):
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)
    for named_file in re.findall(r"\b(?:docs|tools)/\w+\.\w+", path.read_text(encoding="utf-8")):
        assert (ROOT / named_file).is_file()


def test_a_form_asks_for_what_a_comparison_needs():
    form = read(ROOT / ".github" / "ISSUE_TEMPLATE" / "numbers-differ.yml")
    needed = {field["id"] for field in form["body"] if field.get("validations", {}).get("required")}
    assert {"cfg", "header", "numbers", "recording"} <= needed


def test_the_citation_is_of_this_version():
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == darknet_py.__version__
    assert citation["cff-version"] == "1.2.0"
    assert {"authors", "message", "title"} <= citation.keys()
    papers = [paper["title"].partition(":")[0] for paper in citation["references"]]
    assert papers[:3] == ["You Only Look Once", "YOLO9000", "YOLOv3"]
    assert all({"type", "authors"} <= paper.keys() for paper in citation["references"])


def test_the_changelog_has_its_headings():
    (latest, *_) = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert re.match(rf"{re.escape(darknet_py.__version__)}\b", latest)
    assert re.findall(r"^### (.*)$", latest, re.MULTILINE) == ["Added", "Changed", "Fixed"]
