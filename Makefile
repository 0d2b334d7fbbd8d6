# make demo: install, then turn an example picture into views, a video and a mesh.   make test: lint, types, tests.
# make thorough: what `make test` leaves out, further cases of claims it proves (minutes).
# make docs: the manual in out/site; `python3 -m http.server -d out/site` shows it with its search.

PYTHON ?= python3
BIN := .venv/bin
PICTURE ?= examples/pictures/honey-pot.png
TEST_WORKERS ?= 2

export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test thorough lint types docs clean

demo: .venv/.demo
	$(BIN)/zero123 demo $(PICTURE) -o out/demo

test: .venv/.dev lint types
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m "not thorough"

thorough: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile -m thorough

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

docs: .venv/.dev
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=src $(BIN)/mkdocs build --strict --site-dir out/site

.venv/.python:
	$(PYTHON) -m venv .venv
	touch $@

.venv/.demo: .venv/.python pyproject.toml
	$(BIN)/pip install --quiet -e .
	touch $@

.venv/.dev: .venv/.python pyproject.toml
	$(BIN)/pip install --quiet -e ".[dev]"
	touch $@ .venv/.demo

clean:
	rm -rf .venv out build dist .mypy_cache .ruff_cache
