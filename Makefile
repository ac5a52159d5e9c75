# make demo: set up and run the benchmark's demo, offline.   make test: set up and run the tests.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint format
demo: .venv/demo
	"$(BIN)/bench" demo

# Three processes, also on two cores: many tests wait for runners that they kill, and others use that time.
test: .venv/dev
	"$(BIN)/python" -m pytest -n 3 --dist loadfile $(PYTEST)

lint: .venv/dev
	"$(BIN)/ruff" check bench methods reports datasets tests
	"$(BIN)/ruff" format --check bench methods reports datasets tests
	"$(BIN)/python" -m mypy

format: .venv/dev
	"$(BIN)/ruff" check --fix bench methods reports datasets tests
	"$(BIN)/ruff" format bench methods reports datasets tests

.venv/bin/python:
	$(PYTHON) -m venv .venv

# `python -m pip` and not `pip`: a script's first line cannot hold a path with a space.
.venv/demo: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml
	.venv/bin/python -m pip install -q -e '.[dev]'
	touch $@ .venv/demo
