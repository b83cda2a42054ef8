# Every target says what it is for; `make` lists them.
PYTHON ?= python3.11
DEMO := .venv
TEST := .venv-test
FUZZ := .fuzz
# Two busy-waiting threads on two shared cores cost more than they give.
export OMP_WAIT_POLICY ?= passive
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.DEFAULT_GOAL := help
.PHONY: help demo chaos fuzz test check format machines locks bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(DEMO)/.installed ## onboard one subject on this machine and draw its first images
	$(DEMO)/bin/python -m examples.demo

chaos: $(DEMO)/.installed ## onboard twenty while everything fails (3 minutes): make chaos SEED=7
	$(DEMO)/bin/python -m app.cli chaos --seed $(or $(SEED),1)

fuzz: $(FUZZ)/.installed ## install a fuzzer, let it at every parser: make fuzz SECONDS=30 TARGETS="photo"
	PYTHONPATH=$(FUZZ) $(TEST)/bin/python -m tests.fuzz.fuzzer --seconds $(or $(SECONDS),30) $(TARGETS)

test: $(TEST)/.installed ## run every test
	$(TEST)/bin/python -m pytest

check: $(TEST)/.installed ## the one gate: style, types, directions, committed state machines
	$(TEST)/bin/ruff check
	$(TEST)/bin/ruff format --check
	$(TEST)/bin/mypy
	$(TEST)/bin/lint-imports
	$(TEST)/bin/python -m workflows.machines --check

format: $(TEST)/.installed ## format the code
	$(TEST)/bin/ruff check --fix-only
	$(TEST)/bin/ruff format

machines: $(TEST)/.installed ## compile the state machines to their committed ASL
	$(TEST)/bin/python -m workflows.machines

locks: $(TEST)/.installed ## resolve every lock anew from pyproject.toml
	$(TEST)/bin/python locks/resolve.py

bench: $(DEMO)/.installed ## measure the demo and write benchmarks/results/demo.json
	$(DEMO)/bin/python -m benchmarks.demo

clean: ## remove environments and local state
	rm -rf $(DEMO) $(TEST) $(FUZZ) .atelier

# The pins are resolved for one Python; another fails late and unclearly, so this fails first.
define need-python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
		{ echo "Atelier needs Python 3.11, and $(PYTHON) is not it; add PYTHON=/path/to/python3.11"; exit 1; }
endef

# An environment is its lock and this project; it is made anew when either changes.
$(DEMO)/.installed: locks/demo.lock pyproject.toml
	$(need-python)
	@echo "Installing the demo's environment into $(DEMO) (a few minutes the first time)…"
	$(PYTHON) -m venv --clear $(DEMO)
	$(DEMO)/bin/pip install --quiet --requirement locks/demo.lock
	$(DEMO)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(TEST)/.installed: locks/test.lock pyproject.toml
	$(need-python)
	@echo "Installing the test environment into $(TEST) (a few minutes the first time)…"
	$(PYTHON) -m venv --clear $(TEST)
	$(TEST)/bin/pip install --quiet --requirement locks/test.lock
	$(TEST)/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# The fuzzer lies beside the test environment, which is its lock and nothing else.
$(FUZZ)/.installed: $(TEST)/.installed
	@echo "Installing the fuzzer into $(FUZZ)…"
	$(TEST)/bin/python -m pip install --quiet --upgrade --target $(FUZZ) atheris==3.0.0
	@touch $@
