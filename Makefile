PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV = .venv/bin/python
WORKERS ?= 2
PIP = $(VENV) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL = help
.PHONY: help demo ui test fast lint cov docs

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' "$(strip $(MAKEFILE_LIST))"

demo: .venv/installed  ## Install, then run the main job on the real log that ships with the package (10 minutes)
	$(VENV) -m shift_assets demo

ui: .venv/installed  ## Open Dagster on the installation in .shift
	$(VENV) -m shift_assets ui

test: lint  ## Run linters, types and all tests
	$(VENV) -m pytest -n $(WORKERS)

fast: .venv/installed-test  ## Run the tests that take no server, browser or whole run (about a minute)
	$(VENV) -m pytest -n $(WORKERS) -m "not (slow or spark or browser or end_to_end)"

lint: .venv/installed-test  ## Check style, types, SQL, import order and words
	$(VENV) -m ruff check .
	$(VENV) -m ruff format --check .
	$(VENV) -m mypy
	.venv/bin/lint-imports
	$(VENV) -m sqlfluff lint sql --processes 1 --disable-progress-bar
	$(VENV) benchmarks/report.py --check
	$(VENV) .ci/words.py

cov: .venv/installed-test  ## Run all tests and show what they do not reach, branches included
	$(VENV) -m pytest -n $(WORKERS) --cov --cov-report=term

docs: .venv/installed-test  ## Build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(VENV) -m mkdocs build --strict --quiet -f .ci/mkdocs.yml

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -c constraints.txt torch
	$(PIP) -c constraints.txt --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(PIP) -c constraints.txt --editable '.[test,docs]'
	@touch $@
