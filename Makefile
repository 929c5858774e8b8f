# The commands to know: demo, test, check, up, docs, bench. They need python3 (3.11 to 3.14), make and
# pip, and use uv when it is there. Set-up happens by itself and only when something changed.

PYTHON ?= python3
PYTHONS ?=
ARGS   ?=
FILE   ?= examples/quickstart/agents.yaml
BIN    := .venv/bin

MEMBERS := $(wildcard shared/pyproject.toml services/*/pyproject.toml)

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z-]+:.* ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.* ## /\1\t/' | expand -t 20

# -- use it --------------------------------------------------------------------------------------

.PHONY: demo
demo: .venv/.demo ## Run a front desk of agents, on a real local model, over a small inbox
	@$(BIN)/aixgo run examples/quickstart/agents.yaml --input @examples/quickstart/inbox/ $(ARGS)

.PHONY: up
up: .venv/.demo ## Run the same agents as one process each on an embedded nats-server (FILE=…)
	@$(BIN)/aixgo up $(FILE) $(ARGS)

# -- work on it ----------------------------------------------------------------------------------

.PHONY: test
test: .venv/.dev ## Run the default tests in three processes: no network, no containers (ARGS="-k word")
	$(BIN)/python -m pytest -n 3 --dist loadfile $(ARGS)

.PHONY: test-long
test-long: .venv/.dev ## Run the tests that the default lane leaves out because each takes seconds
	$(BIN)/python -m pytest -n 3 --dist loadfile -m 'long and not containers and not live and not slow' $(ARGS)

.PHONY: test-pythons
test-pythons: .venv/.dev ## Run the default tests on each supported Python that is here (PYTHONS="3.12")
	$(BIN)/python tests/lanes/pythons.py $(PYTHONS:%=--python %) $(ARGS)

.PHONY: coverage
coverage: .venv/.dev ## Run the default tests and say which lines they leave out
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 3 --dist loadfile $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: test-busy
test-busy: .venv/.dev ## Run the default tests five times, in new orders, beside two busy processes
	$(BIN)/python tests/lanes/busy.py $(ARGS)

.PHONY: test-containers
test-containers: .venv/.dev ## Run the end-to-end tests that need a container engine
	$(BIN)/python -m pytest -m containers tests/e2e $(ARGS)

.PHONY: crash
crash: .venv/.dev ## Run the large crash tests: minutes of SIGKILL; prints the kill matrix
	$(BIN)/python -m pytest -m slow -s --timeout 1800 tests/crash $(ARGS)

.PHONY: check
check: lint test ## Check format, lint, types and layers, then run the default tests

.PHONY: lint
lint: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

.PHONY: format
format: .venv/.dev ## Format the code and mend what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: .venv/.dev ## Write the generated parts of the documentation
	$(BIN)/python docs/generate.py

.PHONY: bench
bench: .venv/.dev ## Measure against the baselines of docs/benchmarks.md (ARGS=--quick)
	$(BIN)/python benchmarks/run.py $(ARGS)

.PHONY: requirements
requirements: .venv/.dev ## Compile requirements/*.in (ARGS=--upgrade takes newer releases)
	UV=$(BIN)/uv requirements/compile.sh $(ARGS)

# -- set-up --------------------------------------------------------------------------------------
# A stamp per pinned set; dev holds all that demo does, so it stands for both.

.venv/.demo: requirements/demo.txt requirements/install.py $(MEMBERS)
	@$(PYTHON) requirements/install.py demo
	@touch $@

.venv/.dev: requirements/dev.txt requirements/install.py $(MEMBERS)
	@$(PYTHON) requirements/install.py dev
	@touch $@ .venv/.demo
