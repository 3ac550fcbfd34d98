# Tapecast: `make forecast` on a fresh machine with Python 3.11+ and make is all it takes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: help install forecast ui test test-quick lint format bench lock clean

help:  ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14

install: $(INSTALLED)  ## Make .venv with the locked dependencies and the package

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"found Python {v.major}.{v.minor}, expected 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

forecast: $(INSTALLED)  ## Backtest and forecast the bundled real prices (they end in 2013)
	$(BIN)/tapecast run --publish

ui: $(INSTALLED)  ## Open the MLflow and Prefect pages
	$(BIN)/tapecast ui

lint: $(INSTALLED)  ## ruff, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict pipeline flows

format: $(INSTALLED)  ## Let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint  ## Every test, the linters included
	$(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-quick: $(INSTALLED)  ## The tests that take seconds
	$(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder -m "not slow"

bench: $(INSTALLED)  ## Measure accuracy, honesty, speed, store, networks and tutorials (panel in ../shared/data)
	$(BIN)/python -m tests.benchmarks.main_job
	$(BIN)/python -m tests.benchmarks.store
	$(BIN)/python -m tests.benchmarks.ledger 250
	$(BIN)/python -m tests.benchmarks.prices
	$(BIN)/python -m tests.benchmarks.benchmark_forecasters
	$(BIN)/python -m tests.benchmarks.family
	$(BIN)/python -m tests.benchmarks.paths
	$(BIN)/python -m tests.benchmarks.significance
	$(BIN)/python -m tests.benchmarks.sequential
	$(BIN)/python -m tests.benchmarks.defaults_search show
	$(BIN)/python -m tests.benchmarks.calibration
	$(BIN)/python -m tests.benchmarks.defaults
	$(BIN)/python -m tests.benchmarks.combination_choice
	$(BIN)/python -m tests.benchmarks.combination
	$(BIN)/python -m tests.benchmarks.evaluation
	$(BIN)/python -m tests.benchmarks.audit
	$(BIN)/python -m tests.benchmarks.multiple_testing
	$(BIN)/python -m tests.benchmarks.tutorials
	$(BIN)/python -m tests.benchmarks.sanity
	$(BIN)/python -m tests.benchmarks.rescaling
	$(BIN)/python -m tests.benchmarks.ledger
	$(BIN)/python -m tests.benchmarks.daily
	$(BIN)/python -m tests.benchmarks.growth
	$(BIN)/python -m tests.benchmarks.monitoring

clean:  ## Remove caches; state in .tapecast and the environment in .venv stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
