# Each target makes its own virtual environment when there is none: Python 3.11+, pip and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SERVERS ?= auto
# what to run instead of everything, e.g. PYTEST_ARGS="tests/fundamentals -x"
PYTEST_ARGS ?=
# most tests wait, so two processes halve the time; more get in the way of those that start workers
JOBS ?= 2
PYTEST = TURNKEEPER_TEST_SERVERS=$(SERVERS) $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test mutants torture bench check docs format clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,api,http,postgres,encryption,dev]' --group test
	@touch $@

demo: $(VENV)/.installed ## the main job on real processes: no server, no API key needed
	$(BIN)/turnkeeper demo

test: $(VENV)/.installed ## all tests; SERVERS=embedded ignores servers that are running here
ifeq ($(strip $(PYTEST_ARGS)),)
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not alone"
	$(PYTEST) -m alone
else
	$(PYTEST) $(PYTEST_ARGS)
endif

mutants: $(VENV)/.installed ## switch off each rule of the protocol in turn, and see a test notice
	$(BIN)/python -m tests.mutants.run $(MUTANTS)

torture: $(VENV)/.installed ## everything at random under faults; TORTURE="--minutes 10 --database postgres"
	$(BIN)/python -m tests.torture $(TORTURE)

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group bench
	@touch $@

bench: $(VENV)/.bench ## speed, side by side with what else one would use; BENCH="throughput --runs 1"
	$(BIN)/python -m benchmarks $(BENCH)

check: $(VENV)/.installed ## ruff, mypy --strict, layers, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .

docs: $(VENV)/.installed ## write docs/reference from the docstrings, deploy/env.example from the settings
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python deploy/generate_env.py

format: $(VENV)/.installed ## let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .turnkeeper
