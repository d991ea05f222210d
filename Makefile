# Everything from a clean clone: `make demo`, `make test`, `make check`, `make up`. `make help` lists them.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The pins are complete (`make check` looks), so nothing is resolved, and what is imported is compiled when it is.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile
ARGS ?=
PYTHON ?=
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help install demo up test chaos soak check fuzz screenshots

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install ## 25 simulated things do one job, on servers of its own
	@$(BIN)/jobbroker demo $(ARGS)

up: install ## PostgreSQL, Mosquitto and jobbroker, data in one directory; ctrl-C stops all
	@$(BIN)/jobbroker up $(ARGS)

test: install ## all tests, WORKERS (3) at a time; ARGS="-k name" selects, JOBBROKER_TEST_SERVERS=docker|local chooses the servers
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

chaos: install ## hurt servers and brokers under load, hold them to every promise; ARGS=--short takes 2 minutes
	@$(BIN)/python -m tests.chaos $(ARGS)

fuzz: install ## 100,000 odd inputs into all that takes any; ARGS="--inputs N --seed N --only NAME --json"
	@$(BIN)/python -m tests.fuzz $(ARGS)

soak: install ## 5,000 connected things for half an hour: nothing may grow; ARGS="--minutes 2 --things 500"
	@$(BIN)/python -m tests.soak $(ARGS)

screenshots: install ## pictures of every screen of the console, in screenshots/, and what axe finds; ARGS="--only job"
	@$(BIN)/python -m tests.console.screens $(ARGS)

check: install ## lint, format, types, layers; the sizes as a report
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check
	$(BIN)/python .ci/size-report

# A distribution compiles its Python with profiles; one compiled by hand mostly is not, and needs a seventh more CPU here.
PACKAGED_PYTHONS := $(wildcard /usr/bin/python3.1[1-4])

install: $(STAMP) ## the environment in .venv and the mosquitto program

# The environment belongs to the pins and to pyproject.toml: it is completed again when either changed.
$(STAMP): pyproject.toml .ci/requirements.txt .ci/ensure-mosquitto
	@test -x $(BIN)/python || { \
	  for python in $(or $(PYTHON),$(PACKAGED_PYTHONS) python3.13 python3.12 python3.11 python3.14 python3); do \
	    "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null \
	      && exec "$$python" -m venv $(VENV); \
	  done; \
	  echo "Python 3.11 to 3.14 with venv is needed: install one (Debian: python3-venv), or say make PYTHON=/path/to/python"; exit 1; }
	@$(PIP) "$$(grep '^pip==' .ci/requirements.txt)"
	@$(PIP) -r .ci/requirements.txt
	@$(PIP) --no-build-isolation -e .
	@.ci/ensure-mosquitto
	@touch $@
