# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv (python3 >= 3.11).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes of the tests: one for each core with 4 GB of memory, none if that is one. `make test PYTEST_WORKERS=0`
PYTEST_WORKERS ?= $(shell $(PYTHON) -c 'import os; \
	cores = len(getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)); \
	n = min(cores, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 32); print(n if n > 1 else 0)')
# The slow tests mostly wait (for clusters, kills, time limits): beside the others, if there is memory for all. What both write is then mixed while they run; each ends with its own list of failures.
TEST_JOBS ?= $(shell $(PYTHON) -c 'import os; n = $(PYTEST_WORKERS); \
	print(2 if n and os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 32 >= 2 * n else 1)')
PYTEST = $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Compiled modules are kept, also where Python is told not to: a thousand processes of the tests would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-fast test-slow lint types layers docs site bench install clean

demo: $(STAMP)
	$(BIN)/volengine demo --out demo-out

test: $(STAMP)
	$(MAKE) --no-print-directory --keep-going --jobs=$(TEST_JOBS) test-fast test-slow

test-fast: $(STAMP)
	$(PYTEST) -m "not slow and not chaos" tests benchmarks

test-slow: $(STAMP)
	$(PYTEST) -m "slow or chaos" tests benchmarks

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

layers: $(STAMP)
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py -k "imports_itself or same_shape or asks_its_kernel"

docs: $(STAMP) site
	$(BIN)/python docs/check.py

site: $(STAMP)
	$(BIN)/python docs/build_site.py site

bench: $(STAMP)
	$(BIN)/python benchmarks/report.py

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[demo]" || \
		echo "The demo's real tomogram could not be installed; the demo will run on a volume that it makes itself."
	touch $(STAMP)

clean:
	rm -rf $(VENV) demo-out bench-out site .mypy_cache .ruff_cache .pytest_cache .hypothesis
