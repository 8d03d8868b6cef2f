# The project's commands. `make` alone lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo chaos soak reliability test test-all coverage check bench readme parity lock clean
PYTHON := .venv/bin/python
COVERAGE := $(PYTHON) -m coverage
# Most tests wait for real processes: several at once use both cores. Files with few tests are the long ones: not last.
PARALLEL := -n 4 --dist loadfile --no-loadscope-reorder
COMPILE := $(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: .venv, packages, rabbitmq-server (unless AMQP_URL is set)
	@ops/setup.sh

demo: setup ## Run a simulated Discord and the whole fleet for DEMO_SECONDS (default 30), with failures on the way
	@$(PYTHON) -m ops.demo

chaos: setup ## Faults against real processes: CHAOS_SEED, CHAOS_ROUNDS, CHAOS_RATE, CHAOS_FAULTS
	@$(PYTHON) -m ops.chaos

soak: setup ## The same for SOAK_SECONDS (default an hour), with memory in the verdict
	@$(PYTHON) -m ops.chaos soak

reliability: setup ## One fault, hundreds of times: RUN=worker_kills and others, RELIABILITY_COUNT (docs/reliability.md)
	@$(PYTHON) -m ops.chaos.reliability $(RUN)

test: setup ## Run the tests but the longest (CI does); ARGS="-k lease" is passed on to pytest
	@$(PYTHON) -m pytest $(PARALLEL) -m "not long" $(ARGS)

test-all: setup ## Run every test, the long ones of faults and load too
	@$(PYTHON) -m pytest $(PARALLEL) $(ARGS)

coverage: setup ## Run every test and say which lines and branches no test reaches, child processes included
	@$(COVERAGE) erase
	@status=0; $(COVERAGE) run -m pytest $(PARALLEL) $(ARGS) || status=$$?; \
	$(COVERAGE) combine --quiet && $(COVERAGE) report --skip-covered --skip-empty --sort=cover || status=$${status:-1}; \
	exit $$status

check: setup ## Check format, lint, types and who imports whom
	@$(PYTHON) -m ruff format --check --quiet
	@$(PYTHON) -m ruff check --quiet
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports --no-cache

bench: setup ## Measure the hot path on this machine
	@$(PYTHON) -m benchmarks

readme: setup ## Write the README's table of settings
	@$(PYTHON) -m tests.readme_settings

parity: setup ## Write docs/parity.md
	@$(PYTHON) -m tests.parity_table

lock: ## Write the lock files from pyproject.toml; ARGS=--upgrade takes the newest versions
	@test -x $(PYTHON) || python3 -m venv .venv
	@$(PYTHON) -m uv --version >/dev/null 2>&1 || $(PYTHON) -m pip install --quiet uv
	@$(COMPILE) $(ARGS) --group dev pyproject.toml --output-file requirements.lock >/dev/null
	@$(COMPILE) --constraints requirements.lock pyproject.toml --output-file requirements-runtime.lock >/dev/null
	@echo 'hikari==2.6.0' | $(COMPILE) --no-deps - --output-file tests/hikari-2.6.0.lock >/dev/null
	@printf '%s\n' hikari-lightbulb linkd confspec async-timeout | $(COMPILE) $(ARGS) --no-deps - --output-file tests/lightbulb.lock >/dev/null

clean: ## Remove what set-up, tests and runs have made
	@rm -rf .venv .tools .run .coverage .coverage.* htmlcov dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
