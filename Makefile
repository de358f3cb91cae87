# Needs python3 and make; everything else is installed here, into the project's .venv and a cache folder.
SHELL := /bin/bash
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/portcullis
UV := $(shell command -v uv 2>/dev/null || echo $(CACHE)/uv/bin/uv)
RUN := $(UV) run --frozen --all-extras

.PHONY: run test test-long check format sync bench uv
.DEFAULT_GOAL := run

run: sync            ## the main job: paper exchange, broker and gateway under one command
	@$(RUN) portcullis demo

test: sync           ## everything, real bot libraries and servers included
	@$(RUN) python -m tests.setup
	@$(RUN) python -m tests.services.binaries
	@$(RUN) pytest -n 4 --dist loadfile

test-long: sync      ## the same, and what takes hours: thousands of crashes, minutes of outage
	@$(RUN) python -m tests.setup
	@$(RUN) python -m tests.services.binaries
	@PORTCULLIS_LONG=1 $(RUN) pytest

check: sync          ## format, lint, types, import contracts
	@$(RUN) ruff format --check .
	@$(RUN) ruff check .
	@$(RUN) mypy
	@$(RUN) lint-imports

format: sync
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

bench: sync          ## figures of docs/measurements.md
	@$(RUN) python -m bench

sync: uv
	@$(UV) sync --frozen --all-extras --quiet

uv:
	@test -x "$(UV)" || { echo "installing uv into $(CACHE)/uv"; python3 -m venv "$(CACHE)/uv" && "$(CACHE)/uv/bin/python" -m pip install --quiet uv; }
