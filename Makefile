# Thin: each target is one line of uv. `make demo` and `make test` prepare .venv by themselves.
SHELL := /bin/bash
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export OMP_NUM_THREADS ?= 1
UV := $(or $(shell command -v uv),.tools/bin/uv)
BIN := .venv/bin
STAMP := .venv/.esper-ready
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

.PHONY: demo test test-slow check format bench docs ready clean

demo: $(STAMP)
	$(BIN)/esper run digits

test: $(STAMP)
	$(BIN)/pytest -q -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/pytest -q -m slow

check: $(STAMP)
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format && $(BIN)/ruff check --fix

ready: $(STAMP)

# Not `uv sync`: a lock made here would name local wheels, and torch must come from UV_FIND_LINKS where that is set.
$(STAMP): $(PROJECTS) | $(UV)
	$(UV) venv --quiet --allow-existing .venv
	$(UV) pip install --quiet --group dev $(patsubst %/pyproject.toml,-e %,$(patsubst pyproject.toml,-e .,$(PROJECTS)))
	@touch $@

.tools/bin/uv:
	python3 -m pip install --quiet --target .tools uv

clean:
	rm -rf .venv .tools dist build
