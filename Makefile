# Every target sets up what it needs by itself: a virtual environment in .venv, nothing global.
PYTHON ?= python3
SEED ?= 0
BIN := .venv/bin
READY := .venv/.installed
# two processes of one thread each: twice as fast on two cores as one process of two threads
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2

.DEFAULT_GOAL := help
.PHONY: help install quickstart test slow faults docs audit bench reproduce lint build

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## set up .venv with the tested versions (constraints.txt)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: $(READY) ## train a small network without labels, compare it with OpenCV DIS, predict real photographs (4 to 10 minutes)
	$(BIN)/python -m experiments.quickstart --seed $(SEED)

test: $(READY) ## run the default tests (3 to 9 minutes on two cores)
	$(PYTEST) -m 'not slow'

slow: $(READY) ## run the long tests
	$(PYTEST) -m slow --durations 15

faults: $(READY) ## inject every fault of the reliability suite and write docs/faults.md (ten minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.reliability.table docs/faults.md

docs: $(READY) ## build the documentation with its examples into docs/_build/html (three minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going --quiet docs docs/_build/html

audit: $(READY) ## check that dependencies fit, are the pinned ones and free, and known vulnerabilities where they can be asked
	$(BIN)/python -m tests.audit

bench: $(READY) ## measure time and memory, and how fast samples are loaded (ten minutes on a quiet machine)
	$(BIN)/python -m benchmarks.run
	$(BIN)/python benchmarks/loading.py --workers 0 1 2

reproduce: $(READY) ## run an experiment, such as EXP=01; what is finished is not run again (experiments/README.md)
	@test -n "$(EXP)" || { echo "say which one, such as: make reproduce EXP=01 (experiments/README.md lists them)"; exit 2; }
	$(BIN)/python -m experiments.$(notdir $(wildcard experiments/exp$(EXP)_*))

lint: $(READY) ## check style, types, spelling and wording
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python -m tests.wording

build: $(READY) ## build the wheel and the source distribution into dist/
	$(BIN)/python -m build
