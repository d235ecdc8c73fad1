# Every target sets up what it needs; `make help` lists them.
# Without a GPU, torch's CPU wheels save gigabytes: give pip their index, PIP_ARGS="--extra-index-url …".

PYTHON ?= python3
PIP_ARGS ?=
JOBS ?= 2
ARGS ?=

# The demo and the tests run several processes that compute; torch with more threads than free
# cores is many times slower than with one (docs/lab-notes.md).
export OMP_NUM_THREADS ?= 1

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV := .venv-vllm
VLLM_STAMP := $(VLLM_VENV)/.installed
LITELLM_VENV := .venv-litellm
LITELLM_STAMP := $(LITELLM_VENV)/.installed
VERL_VENV := .venv-verl
VERL_STAMP := $(VERL_VENV)/.installed

EVIDENCE := benchmarks/learning.py benchmarks/rounds.py
BY_HAND := benchmarks/gpu_step.py benchmarks/off_policy.py benchmarks/time_to_accuracy.py

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast test-vllm test-verl check format bench evidence clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(STAMP) ## make .venv with pinned versions (once)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: $(STAMP) ## serve, log, label, retrain, gate, swap, report: writes demo-out/
	$(BIN)/python -m examples.demo $(ARGS)

test: $(STAMP) ## all tests, JOBS at a time (10 minutes on two cores)
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

test-fast: $(STAMP) ## the tests to run all day (at most 2 minutes)
	$(BIN)/python -m pytest -m 'not slow and not gpu' $(ARGS)

test-vllm: $(STAMP) $(VLLM_STAMP) ## tests against a real vLLM process, in .venv-vllm (3.4 GB)
	$(BIN)/python -m pytest -m vllm --vllm-python=$(VLLM_VENV)/bin/python $(ARGS)

$(VLLM_STAMP): constraints-vllm.txt requirements-vllm.txt
	test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) --no-deps -r constraints-vllm.txt
	$(VLLM_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) --no-deps --require-hashes \
		-r requirements-vllm.txt
	touch $(VLLM_STAMP)

test-verl: $(STAMP) $(VERL_STAMP) ## tests with verl's own classes, in .venv-verl (1.7 GB)
	$(BIN)/python -m pytest -m verl --verl-python=$(VERL_VENV)/bin/python $(ARGS)

$(VERL_STAMP): constraints-verl.txt
	test -x $(VERL_VENV)/bin/python || $(PYTHON) -m venv $(VERL_VENV)
	$(VERL_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) --no-deps -r constraints-verl.txt
	touch $(VERL_STAMP)

check: $(STAMP) ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) $(VLLM_STAMP) $(LITELLM_STAMP) ## run every benchmark that takes minutes and no GPU; each prints one JSON object last
	@set -e; for script in $(filter-out $(BY_HAND) $(EVIDENCE),$(wildcard benchmarks/*.py)); do \
		echo "== $$script"; $(BIN)/python "$$script" --json; done

evidence: $(STAMP) ## what one retrain learns, and five rounds: hours, and goes on where it stopped
	@set -e; for script in $(EVIDENCE); do $(BIN)/python "$$script" --json $(ARGS); done

$(LITELLM_STAMP): constraints-litellm.txt
	test -x $(LITELLM_VENV)/bin/python || $(PYTHON) -m venv $(LITELLM_VENV)
	$(LITELLM_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) --no-deps -r constraints-litellm.txt
	touch $(LITELLM_STAMP)

clean: ## remove what the targets made, .venv included
	rm -rf $(VENV) $(VLLM_VENV) $(LITELLM_VENV) $(VERL_VENV) demo-out dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
