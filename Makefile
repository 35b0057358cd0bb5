# Everything a person or CI does here. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PYTEST := $(BIN)/pytest
ARGS ?=

.PHONY: help setup nodes demo run test soak bench check format lock

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: .venv/.installed ## install Chainbell and its pinned dependencies into .venv

.venv/.installed: requirements.txt pyproject.toml
	@python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo "Chainbell needs Python 3.11 or newer with venv (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "setting up .venv (pinned dependencies, about a minute)" >&2
	@test -x $(BIN)/python || python3 -m venv .venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip -q
	@$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.txt >&2
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . >&2
	@touch $@

nodes: setup ## fetch anvil, bitcoind and litecoind into .nodes
	@$(BIN)/python tools/install-nodes >&2

demo: setup ## the main job on development chains, live; ARGS=--once ends by itself
	@$(BIN)/python tools/install-nodes anvil bitcoind >&2
	@$(BIN)/chainbell demo $(ARGS)

run: setup ## start Chainbell with the settings in the environment and .env
	@$(BIN)/chainbell run $(ARGS)

test: setup nodes ## every test, in its short form; ARGS goes to pytest
	@$(PYTEST) -n 2 --dist worksteal -q $(ARGS)

soak: setup nodes ## long tests in their full form, with fresh seeds that are printed
	@$(PYTEST) -n 2 --dist worksteal -q --soak $(ARGS)

bench: setup ## measure: ARGS=NAME for one, ARGS=--long for larger sizes; see bench/README.md
	@$(BIN)/python tools/install-nodes anvil bitcoind >&2
	@$(BIN)/python -m bench $(ARGS)

check: setup ## ruff, mypy --strict, import rules
	@$(BIN)/ruff format --check --quiet . || { echo "run make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## let ruff set the format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: setup ## pin the dependencies of pyproject.toml anew
	@$(BIN)/uv pip compile -q --upgrade --generate-hashes --extra dev --no-emit-index-url --no-emit-find-links \
	    --no-annotate --no-header --python-version 3.11 pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --generate-hashes --constraint requirements.txt --no-emit-index-url --no-emit-find-links \
	    --no-annotate --no-header --python-version 3.11 pyproject.toml -o requirements.run.txt
