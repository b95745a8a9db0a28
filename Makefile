# Each target makes its own .venv and installs what it needs; only Python ≥ 3.11 and make are asked for.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN ?= runs/latest
ARGS ?=

.PHONY: run test check bench course docs thorough clean help

help:
	@echo "make run    train on real digits through an encrypted, agreed ledger (ARGS='--devices 10 …')"
	@echo "make test   the test suite, in under eight minutes on two cores"
	@echo "make check  lint and types"
	@echo "make course the twelve notebooks of docs/course in JupyterLab"
	@echo "make docs   the documentation as a site, in build/docs"
	@echo "make bench  the quick profile of every benchmark (FULL=1 for the full one)"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "bdn needs Python 3.11 or newer; say which: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[report]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[report,dask,dev]'
	@touch $@

run: $(VENV)/.run
	$(BIN)/bdn run --out "$(RUN)" --force $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

thorough: $(VENV)/.dev
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/.peers: pyproject.toml | $(VENV)/.dev
	$(PIP) install --editable '.[peers,ethereum]' || echo "some peers are missing; they are named below"
	@touch $@

bench: $(VENV)/.peers
	$(BIN)/python benchmarks/run_all.py $(if $(FULL),,--quick) $(ARGS)

$(VENV)/.course: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[course]'
	@touch $@

course: $(VENV)/.course
	$(BIN)/jupyter lab --notebook-dir=docs/course $(ARGS)

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	$(PIP) install --editable '.[docs,report]'
	@touch $@

docs: $(VENV)/.docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going -q -b html docs build/docs $(ARGS)
	@echo "open build/docs/index.html"

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
