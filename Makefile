# Every target does its own set-up: a virtual environment in .venv, made again when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test check bench clean

demo: $(READY)  ## at most a minute: a real trace through the whole stack, on an embedded server
	$(BIN)/python -m examples.demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)  ## what CI runs besides the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --doctest-modules littleq --ignore=littleq/middleware -p no:cacheprovider
	$(BIN)/python -m pytest tests/packaging -m packaging

bench: $(READY)  ## plain Dramatiq against the full stack, in turn, on one server
	$(BIN)/python -m benchmarks

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .cache build dist
