# make: the arena at the scale of config.yaml, from nothing. make test: all checks and tests.

PYTHON ?= python3.11
BIN := .venv/bin
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)

.DEFAULT_GOAL := arena
.PHONY: arena test lint quick clean

arena: .venv/installed
	$(BIN)/snakemake --cores $(CORES)

# Every step is skipped where nothing changed: a second `make` installs nothing.
.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

test: lint
	$(BIN)/pytest

# Without the tests that run the whole workflow.
quick: .venv/installed-dev
	$(BIN)/pytest -m "not slow"

lint: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

clean:
	rm -rf .venv .snakemake data results logs
