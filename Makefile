# Everything runs from .venv, which the first call makes. pip reads its own configuration as always:
# on a Linux machine without a GPU, PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu in the
# environment of the first call saves about 4 GB of CUDA libraries.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: install demo test bench lint clean help

install: $(READY)  ## make .venv with everything in it
	@echo 'now: source .venv/bin/activate'

demo: $(READY)  ## compose, train and listen on this machine, in minutes
	@$(BIN)/python -m experiments.recipes.demo --out runs/demo

test: $(READY)  ## lint, then the quick tests
	@$(BIN)/ruff check .
	@$(BIN)/python -m pytest -q

bench: $(READY)  ## time what matters on this machine
	@$(BIN)/python -m experiments.benchmarks steps
	@$(BIN)/python -c 'import transformers, x_transformers' 2>/dev/null \
		|| $(BIN)/pip install -q -r experiments/benchmarks/requirements.txt
	@$(BIN)/python -W ignore -m experiments.benchmarks peers

lint: $(READY)  ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:  ## remove build products and caches; .venv, runs/ and corpora/ stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-6s %s\n", $$1, $$2}' Makefile

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c '' || { \
		echo "error: $(PYTHON) cannot be run (above: why); name Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=/path/to/python3" >&2; \
		exit 1; }
	@if [ "$$(uname)" = Linux ] && [ -z "$$PIP_EXTRA_INDEX_URL" ] && ! command -v nvidia-smi >/dev/null; then \
		echo "No GPU found: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu avoids 4 GB of CUDA libraries."; fi
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@
