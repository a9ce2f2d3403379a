# What a person or a script does with this repository; `make help` lists it.
#
# Every target makes what it needs: a virtual environment in .venv and in it the packages of pyproject.toml.
# Stamp files remember what was done, so a second call does not do it again.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
PREFIX ?= /usr
DESTDIR ?=
# PyTorch for the tests and for training. Where this would bring gigabytes of CUDA that are not wanted, name
# PyTorch's own index of CPU builds: make test TORCH="torch==2.13.0 --index-url ADDRESS"
TORCH ?= torch==2.13.0

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# program:Debian packages that bring it, joined by +
TEST_PROGRAMS := mosquitto:mosquitto mosquitto_pub:mosquitto-clients openssl:openssl strace:strace shellcheck:shellcheck cc:gcc+libc6-dev promtool:prometheus systemd-nspawn:systemd-container debootstrap:debootstrap systemd-analyze:systemd ip:iproute2 ssh:openssh-client

.PHONY: help demo test test-pythons deb check chaos soak fuzz format install-models test-packages clean

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-16s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.stamp-demo ## broker, daemon and a dozen sentences; stays up until Ctrl-C (ARGS=--once: does not)
	@$(BIN)/edge-agent demo $(ARGS)

test: $(VENV)/.stamp-dev test-packages ## everything that is tested (ARGS="-k topic" for a part)
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.stamp-dev ## format, lint and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

chaos: $(VENV)/.stamp-dev test-packages ## 200,000 requests under 500 faults, and the ledger (ARGS="--requests N --faults M --seed S")
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.chaos --report docs/reliability.md $(ARGS)

soak: $(VENV)/.stamp-dev test-packages ## a million requests, and what they leave in memory and on disk (ARGS="--requests N")
	@PATH="$$PATH:/usr/sbin" $(BIN)/python -m tests.chaos.soak --report docs/reliability.md $(ARGS)

fuzz: $(VENV)/.stamp-dev ## millions of hostile requests (ARGS="--inputs N --seed S")
	@$(BIN)/python -m tests.fuzz.long $(ARGS)

test-pythons: test-packages ## the tests that are not slow under Python 3.10 to 3.13, where the machine has them
	@deploy/test-pythons.sh $(ARGS)

format: $(VENV)/.stamp-dev ## put the code into the house's format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

install-models: ## put the shipped models under $(DESTDIR)$(PREFIX)/share/edge-agent/models
	@folder="$(DESTDIR)$(PREFIX)/share/edge-agent/models"; install -d -m 755 "$$folder"; \
	for bundle in models/*/bundle.json; do \
		from="$$(dirname "$$bundle")"; name="$$(basename "$$from")"; new="$$folder/.$$name.new"; \
		rm -rf "$$new"; install -d -m 755 "$$new"; install -m 644 "$$from"/* "$$new"; \
		rm -rf "$$folder/$$name"; mv "$$new" "$$folder/$$name"; echo "installed $$folder/$$name"; \
	done

deb: $(VENV)/.stamp-venv ## the Debian package, into dist/ (ARGS="--arch arm64|armhf")
	@PYTHON=$(BIN)/python deploy/deb/build.sh $(ARGS)

clean: ## remove what the other targets made
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
		echo 'edge-agent needs Python 3.10 to 3.13; name one: make PYTHON=python3.12 …' >&2; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo 'No virtual environment could be made; on Debian and its children: apt install python3-venv' >&2; exit 2; }
	@$(PIP) --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-venv pyproject.toml
	@echo 'Installing edge-agent into $(VENV) …'
	@$(PIP) --editable '.[demo]'
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv pyproject.toml
	@echo 'Installing edge-agent and what its tests need into $(VENV) (PyTorch is the large part) …'
	@$(PIP) $(TORCH)
	@$(PIP) --editable '.[demo,forge]' --group dev --group bench
	@touch $@ $(VENV)/.stamp-demo

# Debian packages by apt-get where it may; one line that lists them where it may not.
test-packages:
	@missing=''; export PATH="$$PATH:/usr/sbin"; \
	for pair in $(TEST_PROGRAMS); do \
		command -v "$${pair%%:*}" >/dev/null || missing="$$missing $$(tr + " " <<<"$${pair##*:}")"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ]; then sudo=''; else sudo='sudo -n'; fi; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
		echo "Installing$$missing …"; \
		install="$$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends$$missing"; \
		{ $$install || { $$sudo apt-get -qq update && $$install; }; } </dev/null >/dev/null; \
	else \
		echo "The tests need these packages, install them first:$$missing" >&2; \
	fi

.PHONY: docs
docs: $(VENV)/.stamp-demo ## write the pages that are generated from the code: docs/settings.md
	@$(BIN)/python -m edge_agent.cli.settings_reference docs/settings.md
