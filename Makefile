# Everything happens in .venv: nothing is installed outside this folder.
.PHONY: help demo test unit_tests integration_tests chaos lint format type clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --quiet --disable-pip-version-check
PYTEST := $(BIN)/pytest --dist=loadfile --benchmark-disable
TEST ?= tests
CHAOS_TESTS := $(wildcard tests/integration_tests/test_once_*.py) tests/promises/storm tests/hostile

help:  ## list the targets
	@grep -E '^[a-z_]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/.demo  ## an agent books a table by phone, on the sandbox
	@$(BIN)/oneshot-voice demo

test: unit_tests integration_tests  ## every test that needs no account

unit_tests: $(VENV)/.test  ## the tests that open no socket
	$(PYTEST) --numprocesses=2 $(TEST)/unit_tests --disable-socket --allow-unix-socket

integration_tests: $(VENV)/.test  ## the tests against the sandbox, on 127.0.0.1 only
	$(PYTEST) --numprocesses=3 $(TEST)/integration_tests $(TEST)/promises $(TEST)/hostile $(TEST)/upgrade --allow-hosts=127.0.0.1,::1 --allow-unix-socket

chaos: $(VENV)/.test  ## every fault at every leg, killed workers, and 5,000 storms over real graphs
	CHAOS=full $(BIN)/pytest $(CHAOS_TESTS) --timeout=5400 --allow-hosts=127.0.0.1,::1 --allow-unix-socket

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

$(VENV)/.lint: pyproject.toml $(VENV)/.test
	$(PIP) install --group lint
	@touch $@
