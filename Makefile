# make demo   set up what is needed and show the package at work
# make test   set up what is needed and run every check that CI runs
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint types docs bench bench-inference fuzz clean

demo: $(VENV)/.installed
	$(BIN)/python -m tools.demo

test: lint types
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developing
	$(BIN)/mypy

docs: $(VENV)/.developing
	$(BIN)/python -m tools.docs

bench: $(VENV)/.installed
	$(BIN)/python -m tools.bench costs

bench-inference: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[bench]'
	$(BIN)/python -m tools.bench inference

fuzz: $(VENV)/.installed
	$(BIN)/python -m tools.fuzz all --count 500

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.developing: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
