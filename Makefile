# `make` alone lists the targets. Every target does its own set-up in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Two workers with a thread each: threads of one that wait spinning would starve the other. They take
# modules in the order of tests/conftest.py.
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest \
	-n 2 --dist loadscope --no-loadscope-reorder
SOURCES := src tests examples benchmarks deploy docs/api

.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench docs wheel fmt clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ivme needs Python 3.11 or newer; name one with: make PYTHON=python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Ivme and what it needs into $(VENV) (a few minutes the first time) ..."
	@$(PIP) install --no-compile torch==2.13.0
	@$(PIP) install --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # as pip does, on all cores
	@touch $@

setup: $(VENV)/.installed ## install everything into .venv

demo: setup ## take the guided tour, under 6 minutes on two cores
	@$(BIN)/ivme demo

check: setup ## lint, types and import layers
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then run every test
	$(PYTEST) tests

bench: setup ## measure the project's own targets, side by side (writes out/benchmarks)
	$(BIN)/python benchmarks/run_all.py

docs: setup ## write the API reference from the docstrings (out/api)
	@$(BIN)/python docs/api/build.py out/api

wheel: setup ## build the wheel into dist, and check what it carries
	@rm -f dist/ivme-*.whl
	$(PIP) wheel --no-deps --wheel-dir dist .
	@$(BIN)/python deploy/check_wheel.py dist/ivme-*.whl

fmt: setup ## format Python and C++
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/clang-format -i $(shell find csrc -name "*.cpp" -o -name "*.h")

clean: ## remove what was built, .venv included
	rm -rf $(VENV) build dist out
