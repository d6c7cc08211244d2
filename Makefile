# Every target does its own set-up: a virtual environment in .venv, made again when pyproject.toml changes.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
BENCH := .venv/bench
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' littleq/__init__.py)

# What `make demo` and `make bench` run on: redis, rabbitmq, sqs or kafka.
BROKER ?= redis

# What the image can do; docker/app.in adds what its reference app needs.
IMAGE_EXTRAS := cli server keda kubernetes

.PHONY: demo test test-docker chaos check bench image lock rendered clean

demo: $(READY)  ## little more than a minute: a real trace, once on an elastic pool of real workers and once on a fixed one; BROKER=rabbitmq, sqs or kafka
	$(BIN)/python -m examples.demo --broker $(BROKER)

test: $(READY)  ## two files at a time: most of them wait for servers and processes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-docker: $(READY)  ## the image and compose.yaml on a Docker engine: the one that runs, else one of its own (as root)
	$(BIN)/python -m pytest tests/docker -m docker

chaos: $(READY)  ## the long form of tests/chaos: 20 kills, the network cut for 30 s; then 100,000 jobs with failures and kills; BROKER=…
ifeq ($(BROKER),redis)
	CHAOS_ROUNDS=20 CHAOS_OUTAGE_SECONDS=30 ACCOUNTING_EXAMPLES=300 $(BIN)/python -m pytest tests/chaos tests/integration/test_broker_accounting.py
endif
	JOBS=$${JOBS:-100000} $(BIN)/python -m pytest -s tests/conformance/brokers/test_$(subst -,_,$(BROKER)).py -k what_was_sent

check: $(READY)  ## what CI runs besides the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --doctest-modules littleq --ignore=littleq/middleware -p no:cacheprovider
	$(BIN)/python -m pytest tests/packaging -m packaging

bench: $(BENCH)/.ready  ## the full stack in turn with plain Dramatiq, and with four others, on one server; options: BROKER=rabbitmq ARGS=--quick
	$(BENCH)/bin/python -m benchmarks --broker $(BROKER) $(ARGS)

image:  ## littleq:<version>, with the reference app
	docker build --build-arg VERSION=$(VERSION) --tag littleq:$(VERSION) .

lock: $(READY)  ## what the image holds, with hashes, as new as pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		$(addprefix --extra ,$(IMAGE_EXTRAS)) pyproject.toml docker/app.in --output-file docker/requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		docker/build.in --output-file docker/build.txt

rendered: $(READY)  ## what is checked in and made by the code: k8s/, the rules and the dashboard of compose.yaml, a table of the docs
	$(BIN)/littleq manifests --out k8s
	$(BIN)/littleq manifests --format prometheus > compose/rules.yml
	$(BIN)/littleq manifests --format grafana > compose/grafana/dashboards/littleq.json
	$(BIN)/python -m littleq.backends.table docs/brokers.md

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

$(BENCH)/.ready: pyproject.toml  # an environment of its own: the others have pins that the developers' one need not follow
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	touch $@

clean:
	rm -rf .venv .cache build dist
