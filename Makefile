# Thin: each target is one line of uv. `make demo` and `make test` prepare .venv by themselves.
SHELL := /bin/bash
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export OMP_NUM_THREADS ?= 1
UV := $(or $(shell command -v uv),.tools/bin/uv)
RUN := $(UV) run --no-sync
STAMP := .venv/.esper-synced
MEMBERS := $(wildcard plugins/*/pyproject.toml)

.PHONY: demo test test-slow check format bench docs sync clean

demo: $(STAMP)
	$(RUN) esper run digits

test: $(STAMP)
	$(RUN) pytest -q -n 2 --dist loadfile

test-slow: $(STAMP)
	$(RUN) pytest -q -m slow

check: $(STAMP)
	$(RUN) ruff check && $(RUN) ruff format --check && $(RUN) mypy && $(RUN) lint-imports

format: $(STAMP)
	$(RUN) ruff format && $(RUN) ruff check --fix

sync: $(STAMP)

$(STAMP): pyproject.toml $(MEMBERS) | $(UV)
	$(UV) sync --quiet --all-packages && touch $@

.tools/bin/uv:
	python3 -m pip install --quiet --target .tools uv

clean:
	rm -rf .venv .tools dist build
