# make demo: the main job. make test: the tests. Each sets up .venv first when that is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# Address of a package index that has CPU-only torch wheels, for those who have one (saves 4 GB).
TORCH_INDEX ?=
BIN := .venv/bin

.PHONY: setup demo test lint format stubs clean

setup: .venv/.installed

.venv/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else "fedvoice needs Python 3.11 or newer, got %d.%d: make setup PYTHON=/path/to/python3.11" % v[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -q $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/fedvoice simulate --config experiments/demo.toml --out runs/demo --overwrite

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m protocol.generate --check

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stubs: setup
	$(BIN)/python -m protocol.generate

clean:
	rm -rf .venv runs .mypy_cache .ruff_cache .pytest_cache *.egg-info
