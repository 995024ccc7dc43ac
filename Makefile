# make demo    LeNet-5 and real digits through the whole path; prints the results and where the files are
# make check   environment, lint, types, all tests; what continuous integration runs
# make matrix every array with every bus, memory, kind of scale and bench: half an hour
# make bench   speed of each step beside its target, as figures
# make bench-lecture  the lecture's networks at full size, whole, simulated: half an hour
# make clean   removes what these made, and keeps the environment; `rm -r .venv` removes that
#
# A fresh machine needs Python 3.11 or newer, g++ and make.  PYTHON=python3.12 chooses another interpreter.

SHELL := /bin/sh
PYTHON ?= python3
BUILD ?= build
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := quant golden hw sim

.PHONY: demo check bench bench-lecture matrix lint types tests clean
.DELETE_ON_ERROR:

demo: .venv/.run
	$(BIN)/python -m systolith.demo examples/lenet5 $(BUILD)/demo

check: lint types tests

bench: .venv/.run
	$(BIN)/python -m examples.benchmark $(BUILD)/bench

bench-lecture: .venv/.check
	$(BIN)/python -m examples.lecture.benchmark $(BUILD)/lecture

lint: .venv/.check
	$(BIN)/ruff check .

# Static tools do not see through an editable install: give them the installed layout, as links.
types: .venv/.check
	@rm -rf $(BUILD)/types
	@mkdir -p $(BUILD)/types/systolith
	@for entry in systolith/*; do ln -s "$(CURDIR)/$$entry" $(BUILD)/types/systolith/; done
	@for package in $(PACKAGES); do ln -s "$(CURDIR)/$$package" $(BUILD)/types/systolith/; done
	cd $(BUILD)/types && $(CURDIR)/$(BIN)/mypy --config-file "$(CURDIR)/pyproject.toml" \
		--cache-dir "$(CURDIR)/.mypy_cache" -p systolith

tests: .venv/.check
	$(BIN)/python -m pytest -n 2 --dist loadgroup

matrix: .venv/.check
	$(BIN)/python -m pytest -n 2 -m matrix

.venv/.made:
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) on PATH: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11; choose another with make PYTHON=..." >&2; exit 1; }
	@command -v g++ >/dev/null || { echo "no g++ on PATH: Verilator needs it (apt install g++)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/.run: pyproject.toml .venv/.made
	@echo "installing into .venv ..."
	@$(PIP) install --editable .
	@touch $@

.venv/.check: pyproject.toml .venv/.made
	@echo "installing into .venv ..."
	@$(PIP) install --editable '.[check]'
	@touch $@ .venv/.run

clean:
	rm -rf $(BUILD) .pytest_cache .ruff_cache .mypy_cache .hypothesis systolith.egg-info
	find $(PACKAGES) systolith tests -name __pycache__ -type d -prune -exec rm -rf {} +
