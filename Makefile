# Everything happens in .venv: nothing is installed outside this folder.
.PHONY: help demo test chaos bench lint format type clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check

help:  ## list the targets
	@grep -E '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20
	@echo "one test:           $(BIN)/pytest tests/unit_tests/test_call_key.py -k idempotency"

demo: $(VENV)/.demo  ## an agent books a table by phone, on the sandbox
	@$(BIN)/oneshot-voice demo

test: $(VENV)/.test  ## every test that needs no account; none reaches another machine
	$(BIN)/pytest tests --numprocesses=3 --dist=worksteal --benchmark-disable --durations=10

chaos: $(VENV)/.test  ## all combinations and examples, killed workers, and 5,000 storms over graphs
	CHAOS=full $(BIN)/pytest tests --timeout=5400 --benchmark-disable

bench: $(VENV)/.bench  ## every figure that has a goal, beside the official client: half an hour
	$(BIN)/python benchmarks/run.py 3

lint: $(VENV)/.lint  ## ruff, both as linter and as formatter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.lint  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(VENV)/.lint  ## mypy, strict
	$(BIN)/mypy

clean:  ## remove the environment and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.pip
	$(PIP) install --editable '.[sandbox,cli,langgraph]' --group demo
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.pip
	$(PIP) install --editable '.[sandbox,cli,langgraph,postgres,fast,plot]' --group test
	@touch $@ $(VENV)/.demo

$(VENV)/.bench: pyproject.toml $(VENV)/.pip
	$(PIP) install --editable '.[sandbox,cli,langgraph,postgres,fast,plot]' --group bench
	@touch $@

$(VENV)/.lint: pyproject.toml $(VENV)/.test
	$(PIP) install --group lint
	@touch $@
