# Steadybeat. Needs Python 3.11 or newer and make; everything else is fetched into .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

SOURCES := scheduler worker schedules tests benchmarks

# One stamp for each set of packages: the second `make run` starts at once. The larger set serves both.
DEV      := $(VENV)/.installed-dev
EMBEDDED := $(VENV)/.installed-embedded
RUNNABLE := $(if $(wildcard $(DEV)),$(DEV),$(EMBEDDED))

.PHONY: help run test check format lint types layers unit redis faults soak bench clean

help: ## what you can make
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: $(RUNNABLE) ## a beat, a worker and a Valkey server on the sample schedules; Ctrl-C ends them
	@$(BIN)/sched dev

test: $(DEV) redis lint types layers ## everything: format, lint, types, layers, all tests
	@echo "== tests"
	@$(BIN)/pytest -m "not long" -rs

check: lint types layers unit ## the fast part of it

lint: $(DEV) ## format and lint
	@echo "== format and lint"
	@$(BIN)/ruff format --check --quiet $(SOURCES) || { echo "not formatted: make format"; exit 1; }
	@$(BIN)/ruff check --quiet $(SOURCES)

types: $(DEV) ## strict types
	@echo "== types"
	@$(BIN)/mypy --no-error-summary

layers: $(DEV) ## imports point down
	@echo "== import layers"
	@$(BIN)/lint-imports --no-cache > $(VENV)/layers.log 2>&1 || { cat $(VENV)/layers.log; exit 1; }

unit: $(DEV)
	@echo "== fast tests"
	@$(BIN)/pytest tests/unit -m "not long"

format: $(DEV) ## put everything into shape
	@$(BIN)/ruff check --fix --quiet $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

faults: $(DEV) redis ## kill, pause and restart real processes, the long form
	@$(BIN)/pytest tests/faults -rs

soak: $(DEV) redis ## every long test
	@$(BIN)/pytest -m long -rs

bench: $(DEV) redis ## what we claim about speed, line by line (one file: .venv/bin/python -m benchmarks.bench_beat)
	@for file in benchmarks/bench_*.py; do \
	  echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; \
	done

clean: ## remove all that was made here: .venv, caches, and the state of `make run` (.steadybeat, var)
	rm -rf $(VENV) build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .steadybeat var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Some tests want Debian's own Redis beside the embedded Valkey, and faketime to step a server's clock. Root may install them; for
# others those tests are skipped, with the reason.
redis:
	@if ! command -v redis-server > /dev/null || ! command -v faketime > /dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
	    echo "== installing redis-server and faketime"; \
	    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install redis-server faketime; } > $(VENV)/apt.log 2>&1 \
	    || echo "redis-server and faketime could not be installed ($(VENV)/apt.log); their tests will be skipped"; \
	  else echo "redis-server or faketime is not installed; their tests will be skipped (Debian: apt install redis-server faketime)"; fi; fi

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null \
	|| { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null \
	|| { echo "Python's venv is missing (Debian: apt install python3-venv), then make again"; exit 1; }
	@echo "== making $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(EMBEDDED) $(DEV): $(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/pip
	@echo "== installing steadybeat[$*] into $(VENV) (a minute, the first time)"
	@$(BIN)/pip --disable-pip-version-check install --quiet --progress-bar off -e '.[$*]'
	@touch $@
