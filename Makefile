# Two commands set up everything on a fresh machine with Python 3.11+ and make:
#   make demo   installs, runs the grokking sweep at demo size, says where the report lies
#   make test   installs, runs the tests
# The environment stands in .venv; `make VENV=/elsewhere test` puts it elsewhere.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
BIN = $(VENV)/bin

.PHONY: demo test slurm slow check clean

demo: $(VENV)/.installed
	$(BIN)/phasecube run sweeps/catalog/grokking_onset.toml --study $(DEMO)/grokking_onset
	$(BIN)/phasecube report $(DEMO)/grokking_onset

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto -m "not slow and not gpu and not slurm"

# On real Slurms that the tests start on this host, one for each of two workers: they mostly wait.
slurm: $(VENV)/.installed-test
	$(BIN)/python -m pytest -rs -n 2 --dist loadfile -m "slurm and not slow"

slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "phasecube needs Python 3.11 or newer; say: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info src/*.egg-info
