PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV = .venv/bin/python
PIP = $(VENV) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL = help
.PHONY: help demo ui test

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/installed  ## Install, then run the main job on the real log that ships with the package (10 minutes)
	$(VENV) -m shift_assets demo

ui: .venv/installed  ## Open Dagster on the installation in .shift
	$(VENV) -m shift_assets ui

test: .venv/installed-test  ## Run linters, types and tests
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	$(VENV) -m sqlfluff lint sql --processes 1 --disable-progress-bar
	$(VENV) -m pytest

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(PIP) -c constraints.txt --editable '.[test]'
	@touch $@
