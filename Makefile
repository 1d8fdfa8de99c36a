# What CI runs is what a person runs. `make` alone lists the targets.

PYTHON ?= python3
TEMPLATE := {{cookiecutter.project_slug}}

# Bakes run in this environment too: their lock is a part of ours.
export VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)

include $(TEMPLATE)/environment.mk

# Real data for the tests and the benchmark, where it is there.
ifneq ($(wildcard ../shared/data/handbook),)
export HANDBOOK := $(CURDIR)/../shared/data/handbook
endif

.PHONY: help setup demo test lint bench defects lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: ## Make the environment in .venv; nothing to do while the locks are the same
	@cmp -s requirements.txt .venv/requirements.txt && \
	cmp -s '$(TEMPLATE)/requirements-dev.txt' .venv/requirements-dev.txt || { \
		make --no-print-directory -C '$(TEMPLATE)' supported PYTHON='$(PYTHON)' && \
		echo 'Installing what requirements.txt locks, some 6 GB with torch' && \
		$(PYTHON) -m venv .venv && \
		python -m pip install --quiet --disable-pip-version-check --require-hashes -r '$(TEMPLATE)/requirements-uv.txt' && \
		uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes requirements.txt '$(TEMPLATE)/requirements-uv.txt' && \
		cp requirements.txt '$(TEMPLATE)/requirements-dev.txt' .venv; }

demo: setup ## Bake, and tell the whole loop: first model, drift, retraining, rollback; PROBLEM=churn: of a CSV; or products, maintenance, clicks
	python -m tests.demo $(PROBLEM)

# On two cores: each process takes whole files, as their tests share a rehearsed GitHub, and one thread is enough for it.
test: export OMP_NUM_THREADS := 1
test: setup ## Everything: lint, bake, use bakes; fast tests first; ends with what took longest
	pytest tests -n 2 --dist loadfile --no-loadscope-reorder --durations=10

lint: setup ## The linters alone
	pytest -q tests/test_lint.py

bench: setup ## Time ours beside theirs: a table, and build/bench.json; ONLY="tables promise" for some of it
	python -m tests.bench $(ONLY)

defects: setup ## Defects, controls and attacks through the real workflow: tables, build/defects.json and .md
	python -m tests.defects

lock: setup ## Compile all locks again
	$(MAKE) -C '$(TEMPLATE)' lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		requirements.in -o requirements.txt
