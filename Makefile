# `make demo` installs and runs the main job on the real log that ships with the package.
# `make test` installs what the tests need and runs linters, types and tests.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV = .venv/bin/python
PIP = $(VENV) -m pip install --quiet --disable-pip-version-check

.PHONY: demo ui test

demo: .venv/installed
	$(VENV) -m shift_assets demo

ui: .venv/installed
	$(VENV) -m shift_assets ui

test: .venv/installed-test
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
