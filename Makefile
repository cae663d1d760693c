# Two commands are all a newcomer needs: `make demo` and `make test`. Each sets up what it lacks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
COMPILED := build/compiled
# Python with the compiled fig before the sources; the safe path keeps `-m` from putting the current folder first.
COMPILED_PYTHON := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(COMPILED):$(CURDIR) $(BIN)/python

.PHONY: help demo test test-compiled check bench soak clean

help:
	@echo "make demo    sample monolith, service and proxy with real traffic, a seam moved there and back (ARGS=--keep to stay)"
	@echo "make test    the test suite"
	@echo "make test-compiled   the same against the compiled data path (takes a C compiler)"
	@echo "make check   ruff, mypy --strict, Dockerfile lint"
	@echo "make bench   fig beside other proxies, one core each"
	@echo "make soak    the long runs: load, memory, crashes"

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@

demo: $(READY)
	@$(BIN)/python -m demo $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -q $(ARGS)

$(COMPILED)/.made: $(READY) hatch_build.py $(shell find proxy -name '*.py')
	rm -rf $(COMPILED)
	FIG_COMPILE=1 $(BIN)/python -m pip install --quiet --no-deps --target $(COMPILED) .
	@touch $@

test-compiled: $(COMPILED)/.made
	$(COMPILED_PYTHON) -m pytest -q -o pythonpath= $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile extracted_services/*/Dockerfile

$(PEERS): $(READY)
	$(BIN)/python -m pip install --quiet --group bench
	@touch $@

bench: $(PEERS)
	@$(MAKE) --no-print-directory $(COMPILED)/.made || { rm -rf $(COMPILED); echo "not compiled: measuring plain Python"; }
	@$(COMPILED_PYTHON) -m bench $(ARGS)

soak: $(READY)
	$(BIN)/python -m pytest -q -m soak --timeout 3600 -o addopts= --import-mode=importlib --strict-markers $(ARGS)

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis var dist
