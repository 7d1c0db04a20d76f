# Two commands, each alone from a fresh clone on a machine with Python >= 3.10 and make:
#   make demo    finds everyone in the sample photos with the shipped weights
#   make check   every check and every test
# PYTHON=python3.12 make check chooses the interpreter.

PYTHON ?= python3
FULL := .venv/bin
LEAN := .venv-lean/bin
PIP := -m pip --disable-pip-version-check --quiet install

.PHONY: demo check format clean

demo: .venv-lean/installed
	$(LEAN)/slimpose predict examples/photos/*.jpg --out out/demo
	@echo "The pictures are in $(CURDIR)/out/demo"

check: .venv/installed
	$(FULL)/ruff format --check src tests benchmarks
	$(FULL)/ruff check src tests benchmarks
	$(FULL)/basedpyright --pythonpath $(FULL)/python
	$(FULL)/lint-imports
	$(FULL)/pytest --numprocesses 2 --dist loadfile
	$(FULL)/slimpose verify mnv2 mnv2@openvino --max-px 0.05
	$(FULL)/slimpose verify mnv2 mnv2-int8 --max-p95-px 3
	-$(FULL)/slimpose verify mnv2 mnv2@openvino:bf16  # not every processor computes it

format: .venv/installed
	$(FULL)/ruff format src tests
	$(FULL)/ruff check --fix src tests

clean:
	rm -rf .venv .venv-lean out

# An environment is made anew when pyproject.toml changes. The lean one holds a copy of the package, so it follows the sources.
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "slimpose needs Python 3.10 or newer; say PYTHON=python3.12 make check")'
	@echo "Making .venv with PyTorch and the checkers: a few minutes the first time."
	$(PYTHON) -m venv --clear .venv
	$(FULL)/python $(PIP) --editable '.[train,dev,openvino,ncnn]'
	@touch $@

.venv-lean/made: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "slimpose needs Python 3.10 or newer; say PYTHON=python3.12 make demo")'
	@echo "Making .venv-lean (NumPy, OpenCV, ONNX Runtime; no PyTorch)."
	$(PYTHON) -m venv --clear .venv-lean
	@touch $@

.venv-lean/installed: .venv-lean/made $(shell find src -type f -not -name '*.pyc')
	$(LEAN)/python $(PIP) --upgrade .
	@touch $@
