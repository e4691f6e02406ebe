# make quickstart and make test need Python 3.11 and the package registry, and nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help install quickstart test lint clean
.DEFAULT_GOAL := help

help:  ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(READY)  ## an environment of its own in .venv, with pinned versions

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(READY)

quickstart: $(READY)  ## the main job on the synthetic corpus: teacher, student, ONNX, verdicts
	$(BIN)/python -m distill.train --config configs/quickstart.yaml --overwrite

test: $(READY)  ## all tests
	$(BIN)/python -m pytest

lint: $(READY)  ## ruff and mypy
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

clean:  ## remove the environment and everything made
	rm -rf .venv artifacts build *.egg-info
