# Thin. `make demo` and `make test` prepare .venv by themselves; python3 and pip are enough.
SHELL := /bin/bash
PYTHON ?= python3
UV := $(or $(shell command -v uv),.tools/bin/uv)
BIN := .venv/bin
STAMP := .venv/.esper-ready
DEMO_STAMP := .venv/.esper-demo
PROJECTS := pyproject.toml $(wildcard plugins/*/pyproject.toml)

# Where pip looks for wheels besides its index. uv reads none of pip's settings, and separates by commas.
PIP_LINKS = $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
LINKS = $(or $(UV_FIND_LINKS),$(shell echo $(PIP_LINKS) | tr ' ' ,))
# By file, because the fixtures that cost most, such as an environment with torch in it, serve a whole file; in the order in
# which they are collected, because the files with the fewest tests are those that take longest, and should not come last.
SHARED := -q -n 2 --dist loadfile --no-loadscope-reorder
export OMP_NUM_THREADS ?= 1
# Hundreds of processes import torch; without its bytecode each takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow soak check format bench docs dist ready clean

# What a user installs is enough; where the rest is there, it serves as well.
demo: $(or $(wildcard $(STAMP)),$(DEMO_STAMP))
	$(BIN)/esper run digits
	@echo "next: source .venv/bin/activate, then: esper show last"

test: $(STAMP)
	$(BIN)/pytest $(SHARED)

test-slow: $(STAMP)
	$(BIN)/pytest $(SHARED) -m slow

# The drills of docs/drills.md in full size; FUZZ=first:count:step narrows the mutations down.
# Then every trial of docs/tried.md once more.
soak: $(STAMP)
	$(if $(FUZZ),ESPER_FUZZ=$(FUZZ)) $(BIN)/pytest -q -n 0 -s -m soak -p no:cacheprovider
	$(BIN)/python tools/try_models.py --write docs/tried.md

check: $(STAMP)
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports && \
	    $(BIN)/python tools/sizes.py --check

format: $(STAMP)
	$(BIN)/ruff format && $(BIN)/ruff check --fix

bench: $(STAMP)
	$(BIN)/python tools/run_bench.py

docs: $(STAMP)
	$(BIN)/python tools/plugin_table.py
	$(BIN)/python tools/exit_code_table.py
	$(BIN)/sphinx-build -q -W --keep-going -n -b html docs docs/_build/html

# What a package index would be given; CONTRIBUTING.md says how.
dist: $(STAMP)
	rm -rf dist
	$(UV) build --quiet --all-packages --out-dir dist
	$(BIN)/twine --no-color check --strict dist/* | grep -v PASSED; exit $${PIPESTATUS[0]}

ready: $(STAMP)

# Not `uv sync`: a lock made here would name local wheels, and torch must come from LINKS where it is there.
# The folder `plugins` is newer than the stamp after a plugin came or went; --exact removes what went.
# --python, because uv would rather install into an environment that happens to be active.
$(STAMP): $(PROJECTS) plugins | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	UV_FIND_LINKS=$(LINKS) $(UV) pip install --quiet --exact --python $(BIN)/python \
	    --group dev $(PROJECTS:%pyproject.toml=-e ./%)
	@touch $@

$(DEMO_STAMP): $(PROJECTS) plugins | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	UV_FIND_LINKS=$(LINKS) $(UV) pip install --quiet --python $(BIN)/python -e ./plugins/esper-standard
	@touch $@

.tools/bin/uv:
	$(PYTHON) -m pip install --quiet --target .tools 'uv>=0.9'

clean:
	rm -rf .venv .tools dist build docs/_build docs/generated
