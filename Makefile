# make demo    the demo on the embedded Postgres; needs nothing but Python 3.11 or newer
# make test    the whole test suite: make test ARGS="-k search", ARGS=--postgres=docker, ARGS="-n 0 --pdb"
# make lint    ruff and mypy
# make build   wheel and source distribution, in dist/
# make clean   remove what the others made

PYTHON ?= python3
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The pip that comes with Python 3.11 takes twice as long and knows no dependency groups.
NEWER_PIP := $(PIP) install "pip>=25.1"
INSTALL := $(PIP) install --no-compile --constraint constraints.txt
# A worker has a server of its own. The slowest files come first, and a file stays in one worker.
WORKERS := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Bytecode is kept at first use: pip need not compile what nobody imports, but without it every process
# would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test lint build clean

demo: $(VENV)/installed
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

build: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build --no-isolation

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

# pip runs again only after one of the inputs has changed; the sources are used where they are.
$(VENV)/installed: $(INPUTS) | $(BIN)/python
	@echo "installing pgrecall into $(VENV)"
	@$(NEWER_PIP)
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/installed-dev: $(INPUTS) | $(BIN)/python
	@echo "installing pgrecall and its development tools into $(VENV)"
	@$(NEWER_PIP)
	@$(INSTALL) --editable ".[cohere,haystack,langchain,languages,llama-index,mcp,openai,office,web]" --group dev
	@touch $@ $(VENV)/installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "pgrecall needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
