# Everything from a clean clone: `make demo`, `make test`, `make check`, `make up`. `make help` lists them.
PYTHON ?= $(firstword $(foreach v,3.13 3.12 3.11 3.14,$(shell command -v python$(v) 2>/dev/null)) $(shell command -v python3 2>/dev/null))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo up test check

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install ## 25 simulated things do one job, on servers of its own
	@$(BIN)/jobbroker demo $(ARGS)

up: install ## PostgreSQL, Mosquitto and jobbroker, data in one directory; ctrl-C stops all
	@$(BIN)/jobbroker up $(ARGS)

test: install ## all tests; ARGS="-k name" selects, JOBBROKER_TEST_SERVERS=docker|local chooses the servers
	@$(BIN)/python -m pytest $(ARGS)

check: install ## lint, format, types, layers; the sizes as a report
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/size-report

install: $(STAMP) ## the environment in .venv and the mosquitto program

# The environment belongs to the pins and to pyproject.toml: it is completed again when either changed.
$(STAMP): pyproject.toml .ci/requirements.txt .ci/ensure-mosquitto
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.14 is needed: install one or say make PYTHON=/path/to/python"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 15) else f"Python 3.11 to 3.14 is needed; {sys.executable} is {v[0]}.{v[1]}: say make PYTHON=/path/to/python")'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r .ci/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@.ci/ensure-mosquitto
	@touch $@
