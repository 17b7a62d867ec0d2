# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# A stamp is as new as the last installation; it is made again only when a lock or pyproject.toml changed.
RUNTIME := $(VENV)/.installed-runtime
EVERYTHING := $(VENV)/.installed-everything

ROUNDS ?= 1000
SEEDS ?= 10000
ARGS ?=

.PHONY: help install install-runtime serve test test-stock lint check-style check-mypy check-pyright check-imports format bench \
        crash simulate mutate lock clean

help: ## List these commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(EVERYTHING) ## Make .venv with everything that serving, testing and building need.

install-runtime: $(RUNTIME) ## Make .venv with what serving needs, and no more.

serve: $(RUNTIME) ## Start the gateway; PORT, HOST, DATA_DIR, SQL_DSN and REDIS_CONN_STRING are passed on.
serve: export HOST ?= 127.0.0.1
serve:
	@exec $(BIN)/veloera serve $(ARGS)

test: lint ## Lint, types and the whole suite. ARGS="-k hold" picks tests.
	@$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

test-stock: $(EVERYTHING) ## The suite once more over hypercorn's own HTTP/1 and aiohttp's pool.
	@HTTP1_ENGINE=hypercorn UPSTREAM_POOL=aiohttp $(BIN)/pytest -n 2 --dist loadfile $(ARGS)

lint: $(EVERYTHING) ## Style, types (mypy and pyright) and the import order.
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target check-style check-mypy check-pyright check-imports

check-style:
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .

check-mypy:
	@$(BIN)/mypy

check-pyright:
	@$(BIN)/pyright --warnings

check-imports:
	@$(BIN)/lint-imports --no-cache

format: $(EVERYTHING) ## Write the style into the files.
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

bench: $(EVERYTHING) ## Measure speed and memory with durable billing on, beside a bare echo on the same core.
	@$(BIN)/python -m benchmarks $(ARGS)

crash: $(EVERYTHING) ## Kill writers (ROUNDS on each store), gateways and PostgreSQL under load, and count what was lost: nothing.
	@$(BIN)/python -m tests.crash.run --rounds $(ROUNDS) $(ARGS)

simulate: $(EVERYTHING) ## Run SEEDS seeds of the simulator: nodes, faults and a second opinion on every answer. One seed gives a run again.
	@$(BIN)/python -m tests.simulator --seeds $(SEEDS) --processes 2 $(ARGS)

mutate: $(EVERYTHING) ## Break `decide` in every small way, one at a time, and count what the laws notice.
	@$(BIN)/python -m tests.mutation $(ARGS)

lock: $(EVERYTHING) ## Resolve both locks again; UPGRADE=1 moves every pin to its newest version.
	@$(call compile,requirements.lock,--group build)
	@$(call compile,requirements-dev.lock,--group dev --constraint requirements.lock)

clean: ## Remove what the tools left behind; .venv and data stay.
	@rm -rf dist build .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

# One lock serves every Python and platform we support (`--universal`), and names no address: any mirror will do.
define compile
$(BIN)/uv pip compile pyproject.toml $(2) --output-file $(1) $(if $(UPGRADE),--upgrade) --universal --python-version 3.11 \
    --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet >/dev/null; \
sed -i '1i # Made by `make lock` from pyproject.toml. Every file is named by its hash; none by an address.' $(1)
endef

# pyenv leaves names on PATH that do not run, and Debian ships a Python without ensurepip: each candidate is tried.
$(BIN)/python:
	@for python in python3.13 python3.12 python3.11 python3; do \
	  if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "Veloera needs Python 3.11 or newer with its venv module (on Debian: apt-get install python3-venv)." >&2; exit 1

$(RUNTIME): requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what serving needs into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(call install_veloera)
	@touch $@

$(EVERYTHING): requirements.lock requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing everything into $(VENV)"
	@$(PIP) install --require-hashes --requirement requirements-dev.lock
	@$(call install_veloera)
	@touch $(RUNTIME) $@

# The build backend came with the lock, so this step asks no registry.
define install_veloera
$(PIP) install --no-deps --no-build-isolation --no-index --editable .
endef
