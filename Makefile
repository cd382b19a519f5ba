# Folioscope. `make` or `make help` says what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo test test-models check lint format types layers bench samples system-packages clean

VENV ?= .venv
BIN := $(VENV)/bin
ROOMS := retrieval indexing serving eval
TYPED := $(ROOMS) $(wildcard folioscope.py)
TEST_JOBS ?= 2
MODELS_VENV ?= .venv-models
TORCH ?= torch==2.13.0 torchvision==0.28.0
# What an installation depends on: change one of these and the next target reinstalls.
INSTALL_INPUTS := pyproject.toml setup.py $(wildcard retrieval/_maxsim*.[ch])

# The first interpreter that runs, is 3.11 to 3.13 and can make virtual environments. A name on
# the path may be a version manager's shim for a version that is not installed, so each is run.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	>/dev/null 2>&1 && { echo "$$p"; break; }; done)

help: ## Show this list
	@echo 'Folioscope: find the page, and the place on the page.'
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) \
		| awk 'BEGIN {FS = ":.*## "} {printf "  make %-18s %s\n", $$1, $$2}'
	@echo
	@echo '  Variables: DOCS=path (demo on your own folder), PYTHON=python3.12, VENV=.venv,'
	@echo '             TEST_JOBS=2 (processes that run tests)'

# Editable, so that a changed source file needs no new installation.
$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo 'No Python 3.11, 3.12 or 3.13 with venv was found.'; \
		echo 'Install one (Debian: apt-get install python3 python3-venv) or name it:'; \
		echo '  make PYTHON=/path/to/python3.12 ...'; exit 1; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(INSTALL_INPUTS) | $(BIN)/python
	@echo 'Installing Folioscope and what it needs (about 370 MB of downloads the first time)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(INSTALL_INPUTS) | $(BIN)/python
	@echo 'Installing Folioscope with what its tests and checks need'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.runtime

demo: $(VENV)/.runtime ## Index data/documents (or DOCS=path), ask three questions, draw the hits
	@$(BIN)/folioscope demo $(if $(DOCS),--docs '$(DOCS)')

test: check ## Install what the tests need; run every check and every test
	$(BIN)/python -m pytest -n $(TEST_JOBS)

# In an environment of their own: torch stays out of what everything else is tested in. From
# PyPI torch brings CUDA along (3 GB); its CPU builds are at download.pytorch.org/whl/cpu.
$(MODELS_VENV)/.models: $(INSTALL_INPUTS)
	@[ -n "$(PYTHON)" ] || { echo 'No Python 3.11, 3.12 or 3.13 with venv was found.'; exit 1; }
	@echo 'Installing torch and colpali-engine for the tests of visual encoders'
	@$(PYTHON) -m venv $(MODELS_VENV)
	@$(MODELS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	@$(MODELS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[dev,colpali,local]'
	@touch $@

test-models: $(MODELS_VENV)/.models ## Tests of the visual encoders and of torch scoring (installs torch)
	$(MODELS_VENV)/bin/python -m pytest -m models -n $(TEST_JOBS)

check: system-packages lint types layers

lint: $(VENV)/.dev ## Style and formatting (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev ## Rewrite sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## Types, strictly, in the four rooms and the command (mypy)
	$(BIN)/mypy $(TYPED)

layers: $(VENV)/.dev ## Imports between rooms point down only (import-linter)
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## Measure the engine on this machine; results go to bench-out/
	$(BIN)/folioscope bench maxsim --out bench-out
	$(BIN)/folioscope bench coarse --vectors 10000 --vectors 80000 --out bench-out
	$(BIN)/folioscope bench build data/documents --out bench-out

samples: $(VENV)/.dev ## Draw the sample documents in data/ anew
	$(BIN)/python data/make_samples.py

# Poppler is the optional second renderer, Chromium what the web page is tested in. Tests that
# need them skip without them, so their absence is said and does not stop anything.
system-packages:
	@missing=''; \
	command -v pdftoppm >/dev/null || missing="$$missing poppler-utils"; \
	command -v chromium >/dev/null || command -v chromium-browser >/dev/null \
		|| command -v google-chrome >/dev/null || missing="$$missing chromium"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing$$missing (tests of the second renderer and of the web page)"; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $$missing fonts-dejavu-core \
			>/dev/null 2>&1; } \
		|| echo "Could not install$$missing: their tests will be skipped."; \
	else \
		echo "Not found:$$missing. Tests that need them will be skipped."; \
		echo "To run them: apt-get install$$missing"; \
	fi

clean: ## Remove the environment, caches, build and demo output
	rm -rf $(VENV) $(MODELS_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache demo-out demo-index bench-out test-artefacts retrieval/_maxsim*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
