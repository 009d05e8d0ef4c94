# Two commands do everything on a fresh machine: `make demo` and `make test`. They install the releases of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATEST := .venv-latest
LOWEST := .venv-lowest
PIP ?= pip==26.3
# The CPU build of this release is enough here; whoever has a GPU installs the ordinary torch (pyproject.toml asks for torch>=2.6).
TORCH ?= torch==2.13.0
DEMO_MODEL ?= smollm2-135m-instruct
DEMO_ADAPTER ?= lora_r8
# One thread a test process: tiny models run many times slower when processes share cores.
WORKERS ?= 2

.PHONY: demo test test-latest test-lowest constraints lint format browser bench clean

demo: $(VENV)/.demo  ## score a small embedded model and its adapter on the project's own items: before, after, and what changed
	rm -rf results/demo
	HARNESS_OFFLINE=1 $(BIN)/harness run --model $(DEMO_MODEL) --adapter none,$(DEMO_ADAPTER) --tasks demo --output results/demo
	$(BIN)/harness leaderboard results/demo
	$(BIN)/harness forgetting --before results/demo/$(DEMO_MODEL) --after results/demo/$(DEMO_MODEL)+$(DEMO_ADAPTER) --target demo_dialogue

test: $(VENV)/.dev lint browser  ## lint, types, and the whole suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

test-latest: browser  ## the suite with the newest releases that pyproject.toml allows, in an environment made anew
	$(call environment,$(LATEST),/dev/null,dev$(comma)bench)
	OMP_NUM_THREADS=1 $(LATEST)/bin/pytest -n $(WORKERS) --dist worksteal
	touch $(LATEST)/.passed

test-lowest: browser  ## the suite with the lowest releases that pyproject.toml allows, in an environment made anew
	$(call environment,$(LOWEST),constraints-lowest.txt,dev$(comma)bench)
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest -n $(WORKERS) --dist worksteal

constraints: $(LATEST)/.passed  ## write constraints.txt: the releases with which `make test-latest` has passed
	{ sed -n '/^#/p' constraints.txt; $(LATEST)/bin/python -m pip freeze --all --exclude-editable | sed -n '/^pip==/d;s/^\([A-Za-z0-9._-]*==[^+ ]*\).*/\1/p'; } > $(LATEST)/constraints
	mv $(LATEST)/constraints constraints.txt

$(LATEST)/.passed:
	$(error `make test-latest` has to pass first)

lint: $(VENV)/.dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The HTML pages are tested in headless Chromium; without it these tests skip, except in continuous integration, where they fail.
browser:
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit 0; done; \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium; } \
		|| echo "Chromium is missing: the tests of the HTML pages will be skipped."

# MODELS: a folder with smollm2-135m-instruct and flan-t5-small-titles; DATA: a folder of dataset snapshots.
bench: $(VENV)/.bench  ## measure against lm-eval and CTranslate2 on a quiet machine: make bench MODELS=DIR DATA=DIR
	$(BIN)/python -m benchmarks.bootstrap
	$(BIN)/python -m benchmarks.startup --model $(MODELS)/smollm2-135m-instruct --data $(DATA) --json benchmarks/results/startup.json --document docs/performance.md
	$(BIN)/python -m benchmarks.engine --models $(MODELS) --data $(DATA) --json benchmarks/results/engine-cpu.json --document docs/performance.md
	$(BIN)/python -m benchmarks.engine.where --models $(MODELS) --data $(DATA) --json benchmarks/results/where-cpu.json --document docs/performance.md

clean:  ## remove the environment and what runs left
	rm -rf $(VENV) $(LATEST) $(LOWEST) results/demo .pytest_cache .mypy_cache .ruff_cache

# torch comes first and by itself, so that TORCH can be another release, or a build that is there already; the rest leaves it alone.
# Arguments: the environment, a file of constraints.
define torch
	$(1)/bin/python -m pip install -q '$(PIP)'
	{ grep -v '^torch==' $(2); echo '$(TORCH)'; } > $(1)/constraints
	$(1)/bin/python -m pip install -q '$(TORCH)' -c $(1)/constraints
endef

# Arguments: the environment, extras.
define harness
	$(1)/bin/python -m pip install -q -e '.[$(2)]' -c $(1)/constraints --build-constraint $(1)/constraints
endef

# Arguments: the environment, a file of constraints, extras.
define environment
	$(PYTHON) -m venv --clear $(1)
	$(call torch,$(1),$(2))
	$(call harness,$(1),$(3))
endef

comma := ,

$(VENV)/.torch: Makefile constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(call torch,$(VENV),constraints.txt)
	touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.torch
	$(call harness,$(VENV),demo)
	touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	$(call harness,$(VENV),bench)
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.torch
	$(call harness,$(VENV),dev)
	touch $@
