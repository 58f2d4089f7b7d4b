# Needs Python 3.11 or newer with venv and pip, and make. Everything else is installed into .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
EXTRAS := operator,runner,openvino,tensorrt-rtx
STAMP := $(VENV)/.set-up
LOCK := requirements.lock
PARITY := .venv-parity

.SILENT: help setup demo demo-cluster bench $(STAMP)
.PHONY: help setup demo demo-cluster test test-cluster test-image lint format generate verify lock bench bench-operator parity independent clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

setup: $(STAMP) ## Install everything, locked, into .venv

$(STAMP): pyproject.toml $(LOCK)
	started=$$(date +%s)
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	[ -x $(UV) ] || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) pip install --quiet --python $(BIN)/python --constraint $(LOCK) --editable '.[$(EXTRAS)]' --group dev
	touch $@
	echo "set-up: $$(( $$(date +%s) - started )) s"

demo: $(STAMP) ## Run the demo job on this computer
	$(BIN)/mpj run examples/demo/job.yaml

demo-cluster: $(STAMP) ## Run the demo job on a Kubernetes API of this computer; needs Go
	PYTHONPATH=tests/support:tests/cluster_support $(BIN)/python -m components
	PYTHONPATH=tests/support:tests/cluster_support $(BIN)/python tests/cluster_support/demo.py

test: $(STAMP) ## Run the tests: no GPU
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile -m 'not gpu and not cluster and not image'

test-cluster: $(STAMP) ## Run the tests that need a Kubernetes API: built once from Go modules, needs Go
	PYTHONPATH=tests/support:tests/cluster_support $(BIN)/python -m components
	MPJ_NEED_BINARIES=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/cluster $(ARGS)

test-image: $(STAMP) ## Build and try the operator's image, with JOB=1 the job's too (25 GB free): root, buildah, runc
	MPJ_NEED_IMAGES=1 MPJ_JOB_IMAGE=$(JOB) $(BIN)/python -m pytest tests/image

lint: $(STAMP) ## Check style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: $(STAMP) ## Write what is made from the types: crds/, the chart's copy and table, recorded statuses
	$(BIN)/python -m mpj_operator.api.crd > crds/.part
	mv crds/.part crds/mixedprecision.dev_mixedprecisionjobs.yaml
	$(BIN)/python -m mpj_operator.api.crd chart > crds/.part
	mv crds/.part helm/mixedprecision-operator/templates/crd.yaml
	$(BIN)/python helm/readme.py
	PYTHONPATH=tests/support $(BIN)/python -m recorded deploy/gitops/argocd/resource_customizations/mixedprecision.dev/MixedPrecisionJob/testdata

verify: generate ## Fail when a generated file or the lock is stale
	git diff --exit-code -- crds helm deploy
	cp $(LOCK) $(VENV)/lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml --all-extras --group dev --output-file $(VENV)/lock
	diff $(LOCK) $(VENV)/lock

lock: $(STAMP) ## Lock the newest allowed dependencies
	$(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml --all-extras --group dev --output-file $(LOCK)

bench: $(STAMP) ## Print figures: quantization, evaluation, planning, the demo job twice
	for figures in quantization eval_pipeline planning demo; do
		echo; echo "tests/bench/$$figures.py"
		$(BIN)/python tests/bench/$$figures.py || echo "tests/bench/$$figures.py: a bar is missed, or it failed"
	done

bench-operator: $(STAMP) ## Print what the operator costs a cluster: JOBS=2000 ROUNDS=1 for many; needs Go
	PYTHONPATH=tests/support:tests/cluster_support $(BIN)/python -m components
	PYTHONPATH=tests/support:tests/cluster_support $(BIN)/python tests/bench/reconciling.py --jobs $(or $(JOBS),200) --rounds $(or $(ROUNDS),3)

parity: $(STAMP) ## Hold our pre- and postprocessing against Ultralytics' (AGPL; a venv of its own)
	[ -x $(PARITY)/bin/python ] || $(UV) venv --quiet --python $(BIN)/python $(PARITY)
	$(UV) pip install --quiet --python $(PARITY)/bin/python --constraint $(LOCK) --editable '.[operator,runner,openvino,ultralytics]'
	$(PARITY)/bin/python tests/parity/parity.py

independent: $(STAMP) ## Run the demo on ONNX Runtime and judge it again with stock tools only
	$(BIN)/mpj run examples/demo/onnxruntime.yaml
	$(BIN)/python tests/independent/verify.py mpj-out/demo-onnxruntime

clean: ## Remove what was made here
	rm -rf $(VENV) $(PARITY) .cache mpj-out build dist
