# SPDX-License-Identifier: Apache-2.0
# Every target sets itself up: a machine needs python3 (3.11 or newer) with venv, make and git, and nothing else.

PYTHON ?= python3
# On 2 cores: what waits for Slurm leaves room for what computes.
WORKERS ?= 3
# Upstream's wheel is tried against our servers, in an environment that sees the packages of .venv too.
UPSTREAM := 0.26.4

export PIP_DISABLE_PIP_VERSION_CHECK = 1

BIN := .venv/bin
STAMP := .venv/installed
# What besides only tests and benchmarks need.
TOOLS := .venv/ready-for-tests
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

.PHONY: install slurm-packages demo cluster cluster-stop test test-all check bench bench-quick clean

install: $(TOOLS) slurm-packages

# pip 25.1 is the first that installs dependency groups; Debian 12 brings 23.0.
$(STAMP): pyproject.toml
	@test -x $(BIN)/python || { echo "Creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing the packages into .venv (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	@touch $@

$(TOOLS): $(STAMP)
	@$(PYTHON) -m venv --without-pip .venv/upstream
	@echo "$(CURDIR)/$$(cd .venv && echo lib/python3.*/site-packages | sed 's|^|.venv/|')" > "$$(echo .venv/upstream/lib/python3.*/site-packages)/beside.pth"
	@$(BIN)/python -m pip --python .venv/upstream/bin/python install --quiet --no-deps "qrmi==$(UPSTREAM)"
	@$(BIN)/python tests/vendors/munge_daemon.py
	@touch $@

slurm-packages:
	@scripts/install_slurm.sh

demo: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/demo.sh

cluster: $(STAMP) slurm-packages
	@$(BIN)/python scripts/cluster.py start

cluster-stop: $(STAMP)
	@$(BIN)/python scripts/cluster.py stop

test: $(TOOLS) slurm-packages
	$(PYTEST) -m "not slow"

test-all: $(TOOLS) slurm-packages
	$(PYTEST)
	$(BIN)/python scripts/check_distribution.py emulators

check: $(STAMP)
	@PATH="$(CURDIR)/$(BIN):$$PATH" scripts/check.sh

bench: $(TOOLS) slurm-packages
	$(BIN)/python tests/benchmarks

bench-quick: $(TOOLS)
	$(BIN)/python tests/benchmarks --quick

clean:
	@test ! -e build/cluster || $(BIN)/python scripts/cluster.py stop
	rm -rf .venv build dist *.egg-info *.png .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find qrmi_core qrmi_qiskit qrmi_pulser tests scripts examples -name __pycache__ -type d -prune -exec rm -rf {} +
