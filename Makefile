# Each verb makes .venv itself, and nothing is done twice.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test doctest lint docs bench fuzz clean

demo: .venv/installed
	$(BIN)/pyro-mlvae train --data digits --out runs/digits --overwrite

test: .venv/installed-test
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal --durations 10

doctest: .venv/installed-test
	$(BIN)/python -m pytest pyro_mlvae README.md docs

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed-test
	$(BIN)/sphinx-build -W --keep-going -n -q docs docs/_build
	@echo "open docs/_build/index.html"

bench: .venv/installed-test
	$(BIN)/python benchmarks/benchmark.py

fuzz: .venv/installed-test
	FUZZ=10000 $(BIN)/python -m pytest -q -n 0 tests/test_fuzz.py

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

clean:
	rm -rf .venv runs docs/_build .pytest_cache .mypy_cache .ruff_cache
