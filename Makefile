# Three commands, each from a fresh clone on a machine with Python >= 3.10 and make:
#   make demo    finds the people in the sample photos with the shipped models
#   make check   runs every check and every test
#   make docs    builds the documentation site in site/
# PYTHON=python3.12 make check chooses the interpreter.

PYTHON ?= python3
FULL := .venv/bin
LEAN := .venv-lean/bin
DOCS := .venv-docs/bin
SOURCES := src tests benchmarks examples docs
PIP := -m pip --disable-pip-version-check --quiet install
OLD_PYTHON := slimpose needs Python 3.10 or newer; use for example PYTHON=python3.12 make
CHECK_PYTHON := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "$(OLD_PYTHON)")'

.PHONY: demo check check-python docs format clean

demo: .venv-lean/installed
	$(LEAN)/slimpose predict examples/photos/*.jpg --out out/demo --overwrite
	@echo "The drawings are in $(CURDIR)/out/demo"

check: .venv/installed
	$(FULL)/ruff format --check $(SOURCES)
	$(FULL)/ruff check $(SOURCES)
	$(FULL)/basedpyright --pythonpath $(FULL)/python
	$(FULL)/lint-imports
	$(FULL)/pytest --numprocesses 2 --dist loadfile
	$(FULL)/slimpose verify mnv2 mnv2@openvino --max-px 0.05
	$(FULL)/slimpose verify mnv2 mnv2-int8 --max-p95-px 3
	-$(FULL)/slimpose verify mnv2 mnv2@openvino:bf16  # not every processor supports it

docs: .venv-docs/installed
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(DOCS)/mkdocs build --strict
	@echo "Open $(CURDIR)/site/index.html"

# The documented commands, the examples and the conversions on another Python, in an environment of
# their own: make check-python PYTHON=python3.10
check-python:
	@$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear .venv-python
	.venv-python/bin/python $(PIP) --editable '.[train,dev,openvino,ncnn]'
	.venv-python/bin/pytest -m 'slow or not slow' tests/docs tests/examples tests/export/runtimes \
		tests/cli/test_arguments.py

format: .venv/installed
	$(FULL)/ruff format $(SOURCES)
	$(FULL)/ruff check --fix $(SOURCES)

clean:
	rm -rf .venv .venv-lean .venv-docs .venv-python out site

# Each environment is created again when pyproject.toml changes. The lean one has a copy of the
# package, so it is updated when a source file changes.
.venv/installed: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Creating .venv with PyTorch and the development tools: a few minutes the first time."
	$(PYTHON) -m venv --clear .venv
	$(FULL)/python $(PIP) --editable '.[train,dev,openvino,ncnn]'
	@touch $@

.venv-docs/installed: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Creating .venv-docs (MkDocs)."
	$(PYTHON) -m venv --clear .venv-docs
	$(DOCS)/python $(PIP) '.[docs]'
	@touch $@

.venv-lean/created: pyproject.toml
	@$(CHECK_PYTHON)
	@echo "Creating .venv-lean (NumPy, OpenCV, ONNX Runtime; no PyTorch)."
	$(PYTHON) -m venv --clear .venv-lean
	@touch $@

.venv-lean/installed: .venv-lean/created $(shell find src -type f -not -name '*.pyc')
	$(LEAN)/python $(PIP) --upgrade .
	@touch $@
