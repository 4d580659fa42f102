# Everything here needs Python 3.11 or later, make and a package index; no more.
# `make help` lists what there is.

PYTHON ?= python3
# The environment; another folder lets two live side by side.
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := $(BIN)/python
ENV := $(VENV)/.installed
# What mypy reads; generated stubs are left out by its configuration.
CHECKED := services clients/python/tradewind tests proto/generate.py
# Where `make test` looks, and what it hands to pytest on top: make test ARGS="-k journey"
TESTS ?= tests
ARGS ?=

.DEFAULT_GOAL := help

##@ Use

.PHONY: run
run: $(ENV) ## Start everything here, play an order's journey, serve until Ctrl-C (ONCE=1: end after it; STORE=cql; CLUSTER=1 PROCESSES=2: many)
	$(PY) -m services.standalone $(if $(ONCE),--once) $(if $(STORE),--store $(STORE)) $(if $(CLUSTER),--cluster) $(if $(PROCESSES),--processes $(PROCESSES))

.PHONY: compose-secrets
compose-secrets: $(ENV) ## Make the keys and tokens that infra/compose reads, once
	$(PY) -m services.standalone.cluster.handout infra/compose

.PHONY: operate
operate: $(ENV) ## The operator's commands: make operate ARGS="status", see docs/operations.md (TRADEWIND_HOME=.tradewind: a standalone's)
	$(PY) -m services.operate $(or $(ARGS),status)

##@ Check

.PHONY: test
test: $(ENV) ## The whole test suite (TESTS=path, ARGS="pytest options")
	$(PY) -m pytest -n 2 --dist loadscope $(ARGS) $(TESTS)

.PHONY: drills
drills: $(ENV) ## Make parts of a cluster fail under load, and check that nothing is lost (DRILL=name SEED=7 DURATION=60)
	$(PY) -m tests.drills $(if $(DRILL),--drill $(DRILL)) $(if $(SEED),--seed $(SEED)) $(if $(DURATION),--duration $(DURATION)) $(ARGS)

.PHONY: simulate
simulate: $(ENV) ## The ledger in simulated worlds, one for each seed; the first that breaks a promise is made small and told (SEEDS=1000 FROM=0)
	$(PY) -m tests.simulation --seeds $(or $(SEEDS),1000) --from $(or $(FROM),0) $(ARGS)

.PHONY: bench
bench: $(ENV) ## Measure, beside a yardstick in the same run; a table and build/bench.json
	$(PY) -m tests.bench $(ARGS)

.PHONY: lint
lint: lint-code lint-types lint-imports lint-proto ## Every linter below (make -k lint: all findings, not only the first linter's)

.PHONY: lint-code
lint-code: $(ENV) ## ruff: defects, docstrings, form
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: lint-types
lint-types: $(ENV) ## mypy --strict
	$(PY) -m mypy $(CHECKED)

.PHONY: lint-imports
lint-imports: $(ENV) ## import-linter: who may import whom
	$(BIN)/lint-imports --no-logo

.PHONY: lint-proto
lint-proto: $(ENV) ## buf: form, rules and comments of the contracts, and what would break their users
	$(PY) proto/generate.py image build/contracts.binpb
	$(BIN)/buf format --diff --exit-code proto
	$(BIN)/buf lint build/contracts.binpb
	$(BIN)/buf breaking build/contracts.binpb --against proto/released.binpb

.PHONY: format
format: $(ENV) ## Put code and contracts into the house's form
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	$(BIN)/buf format --write proto

##@ Contracts

.PHONY: proto
proto: $(ENV) ## Write the stubs of every contract into clients/python
	$(PY) proto/generate.py stubs

.PHONY: proto-check
proto-check: $(ENV) ## Prove that the checked in stubs are what the contracts say
	$(PY) proto/generate.py check

.PHONY: proto-release
proto-release: $(ENV) ## Declare the contracts as they are released: later changes must not break them
	$(PY) proto/generate.py release proto/released.binpb

##@ Environment

.PHONY: env
env: $(ENV) ## Create the environment with everything the other targets need; they do it themselves

$(ENV): requirements/bootstrap.txt requirements/dev.txt clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@echo "Making the environment $(VENV): a minute or two, once."
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes --no-build-isolation -r requirements/dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-index --no-build-isolation -e . -e clients/python
	@touch $@

LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-config \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.PHONY: lock
lock: $(ENV) ## Pin what requirements/*.in ask for, with hashes (ARGS=--upgrade: to the newest)
	cd requirements && $(abspath $(BIN))/$(LOCK) $(ARGS) -o run.txt run.in
	cd requirements && $(abspath $(BIN))/$(LOCK) $(ARGS) -c run.txt -o dev.txt dev.in
	cd requirements && $(abspath $(BIN))/$(LOCK) -o bootstrap.txt bootstrap.in

.PHONY: lock-cql
lock-cql: $(ENV) ## Pin the jars of the CQL server that tests and make run STORE=cql use, as services/standalone/cassandra/pom.xml asks for them
	$(PY) -m services.standalone.cassandra

.PHONY: clean
clean: ## Remove what was made here: .venv, build, caches (the state in .tradewind stays)
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf tradewind_services.egg-info clients/python/tradewind.egg-info
	find services clients tests proto -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
