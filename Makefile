# Each target makes its own virtual environment when there is none: Python 3.11+, pip and make are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SERVERS ?= auto
# what to run instead of everything, e.g. PYTEST_ARGS="tests/fundamentals -x"
PYTEST_ARGS ?=
# a part of everything, by marks, e.g. ONLY="postgres or redis or rabbitmq": what needs a server
ONLY ?=
# most tests wait, so two processes share the cores well; more get in the way of those that start workers
JOBS ?= 2
# (pytest's 5 says that there is no test of them)
OF_THEM = $(if $(strip $(ONLY)), and ($(ONLY)))
PYTEST = TURNKEEPER_TEST_SERVERS=$(SERVERS) $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo test mutants torture bench check site audit release docs format clean

help: ## show what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[worker,api,http,postgres,encryption,otel,prometheus,dev]' \
	  --group test --group check --group release
	@touch $@

demo: $(VENV)/.installed ## the main job on real processes: no server, no API key needed
	$(BIN)/turnkeeper demo

test: $(VENV)/.installed ## all tests; SERVERS=embedded ignores servers that are running here
ifeq ($(strip $(PYTEST_ARGS)),)
	$(PYTEST) -n $(JOBS) --dist worksteal -m "not alone$(OF_THEM)"
	$(PYTEST) -m "alone$(OF_THEM)"$(if $(OF_THEM), || test $$? -eq 5)
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

check: $(VENV)/.installed ## ruff, mypy --strict, layers, dependencies, the docs as a site, known weaknesses
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(MAKE) --no-print-directory site audit

site: $(VENV)/.installed ## the docs as a site in site/; whatever is not right is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

audit: $(VENV)/.installed ## known weaknesses of what constraints.txt pins; skipped loudly where nobody can tell
	$(BIN)/python -m tools.audit

release: $(VENV)/.installed ## sdist and wheel in dist/, checked, and tried in new environments on Python 3.11 to 3.13
	$(BIN)/python -m tools.release

docs: $(VENV)/.installed ## write docs/reference, llms.txt and deploy/env.example anew from their sources
	$(BIN)/python docs/generate_reference.py
	$(BIN)/python docs/generate_llms_txt.py
	$(BIN)/python deploy/generate_env.py

format: $(VENV)/.installed ## let ruff format and fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .turnkeeper site dist
