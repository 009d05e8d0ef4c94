# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU build of this release is enough here; whoever has a GPU installs the ordinary torch (pyproject.toml asks for torch>=2.6).
TORCH ?= torch==2.13.0
DEMO_MODEL ?= smollm2-135m-instruct
DEMO_ADAPTER ?= lora_r8
# One thread a test process: tiny models run many times slower when processes share cores.
WORKERS ?= 2

.PHONY: demo test lint format browser bench clean

demo: $(VENV)/.demo  ## score a small embedded model and its adapter on the project's own items: before, after, and what changed
	rm -rf results/demo
	HARNESS_OFFLINE=1 $(BIN)/harness run --model $(DEMO_MODEL) --adapter none,$(DEMO_ADAPTER) --tasks demo --output results/demo
	$(BIN)/harness leaderboard results/demo
	$(BIN)/harness forgetting --before results/demo/$(DEMO_MODEL) --after results/demo/$(DEMO_MODEL)+$(DEMO_ADAPTER) --target demo_dialogue

test: $(VENV)/.dev lint browser  ## lint, types, and the whole suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal

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
	rm -rf $(VENV) results/demo .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.torch: Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q '$(TORCH)'
	touch $@

$(VENV)/.demo: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install -q -e '.[demo]'
	touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.dev
	$(BIN)/python -m pip install -q -e '.[bench]'
	touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.torch
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@
