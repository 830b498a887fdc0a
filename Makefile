# The few things one does here. `make run` and `make test` need only Python 3.11+, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast lint bench example clean

run: $(VENV)/.installed ## install, run every pruner on the embedded suite, print the leaderboard
	$(BIN)/synflow-bench run --all

test: $(VENV)/.installed-dev ## install with the development extra, run every test
	$(BIN)/python -m pytest

test-fast: $(VENV)/.installed-dev ## every test but the slow ones
	$(BIN)/python -m pytest -m "not slow"

lint: $(VENV)/.installed-dev ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## the benchmarks, as ratios within one run
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

example: $(VENV)/.installed-dev ## build both wheels, install them in a clean environment, run the example's plugin there
	$(BIN)/python -m pytest tests/testing/test_third_party.py

clean: ## forget the environment and all caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@ $(VENV)/.installed
