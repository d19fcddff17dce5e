# Every target first installs its dependencies: on a new machine, `make demo` and `make test` are sufficient.
PYTHON ?= python3
VENV ?= .venv
BLENDER ?= .blender
BLENDER_PYTHON ?= python3.11
BIN := $(VENV)/bin
CONSTRAINTS ?= constraints.txt
RUN := demo/run
SHIPPED := demo/shipped
RUNTIME := src/emorl/explore/page/runtime
CONFIGS := -c tetrominoes-fast -c demo
# Apple's GPUs have no float64.
CPU := $(if $(filter Darwin,$(shell uname -s)),--trainer.accelerator=cpu)

.DEFAULT_GOAL := help
.PHONY: help setup blender demo demo-data test quick lint types coverage dist docs golden seeds bench runtime clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-8s %s\n", $$1, $$2}' '$(strip $(MAKEFILE_LIST))'

setup: $(VENV)/.installed  ## create a virtual environment with the tested versions

$(VENV)/.installed: setup.cfg $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	touch $@

blender: $(BLENDER)/.installed  ## create an environment with Blender (bpy, GPL-3.0) to render CLEVR; needs Python 3.11

$(BLENDER)/.installed:
	$(BLENDER_PYTHON) -m venv $(BLENDER)
	$(BLENDER)/bin/pip install --quiet 'bpy==4.5.*' 'numpy<2'
	$(BLENDER)/bin/python src/emorl/data/generate/clevr_blender.py
	touch $@

demo: setup demo-data  ## generate Tetrominoes, train briefly, test and predict; then test the shipped weights on new scenes
	rm -rf $(RUN)
	$(BIN)/emorl fit $(CONFIGS) $(CPU) --data.root demo/data \
		--trainer.logger.save_dir demo --trainer.logger.version run
	$(BIN)/emorl test $(CPU) --ckpt_path $(RUN)/checkpoints/last.ckpt --data.root demo/data \
		--trainer.logger false --output_dir $(RUN)
	$(BIN)/emorl predict $(CPU) --ckpt_path $(RUN)/checkpoints/last.ckpt --data.root demo/data \
		--trainer.logger false --output_dir $(RUN)/predictions
	$(BIN)/emorl-data generate tetrominoes demo/fresh --train 0 --val 0 --seed 1
	$(BIN)/emorl test $(CPU) --pretrained tetrominoes --data.root demo/fresh \
		--trainer.logger false --output_dir $(SHIPPED)
	$(BIN)/emorl predict $(CPU) --pretrained tetrominoes --data.root demo/fresh \
		--trainer.logger false --output_dir $(SHIPPED)/predictions
	@echo "The short training: pictures in $(RUN)/pictures, 320 test scenes in $(RUN)/predictions, scores in $(RUN)/metrics.json"
	@echo "The shipped weights: 320 new scenes in $(SHIPPED)/predictions, scores in $(SHIPPED)/metrics.json"

demo-data: setup
	$(BIN)/emorl-data generate tetrominoes demo/data --train 20000 --val 320 --test 320

test: setup  ## run the tests, one process per core
	$(BIN)/pytest --numprocesses auto --dist worksteal

quick: setup  ## run the tests, except those that take more than a few seconds
	$(BIN)/pytest --numprocesses auto --dist worksteal -m "not slow"

lint: setup  ## check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup  ## check types, strictly
	$(BIN)/mypy

coverage: setup $(VENV)/.ci  ## run the quick tests in random order, and write coverage.md
	$(BIN)/pytest -p randomly --numprocesses auto --dist worksteal -m "not slow" --cov --cov-report=markdown:coverage.md --cov-report=term

dist: setup $(VENV)/.ci  ## build the wheel and the source archive in dist/, and check them
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/twine check --strict dist/*

docs: setup $(VENV)/.docs  ## build the site into site/, without warnings
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/.docs $(VENV)/.ci: $(VENV)/.%: setup.cfg $(CONSTRAINTS) | $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[$*]'
	touch $@

golden: setup  ## compare the model with numbers of the authors' code
	$(BIN)/python tools/check_golden.py tests/golden/*.json

seeds: setup  ## train the fast recipe with three seeds, one after another, half an hour each; resumable
	$(BIN)/emorl-data generate tetrominoes data/tetrominoes
	$(BIN)/emorl-study seeds runs/seeds --seeds 3 --options '[$(CPU)]'

bench: setup  ## measure the engine against a plain training step, in an hour
	$(BIN)/python -m benchmarks all --json benchmark.json
	$(BIN)/python -m benchmarks memory --figure memory.png
	$(BIN)/python -m benchmarks models --figure models.png --json models.json
	$(BIN)/python -m benchmarks data

runtime:  ## copy the pinned onnxruntime-web, the runtime of the slot explorer, into the package; needs npm
	npm ci --prefix explorer --ignore-scripts
	cp explorer/node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs $(RUNTIME)
	cp explorer/node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm $(RUNTIME)
	cd $(RUNTIME) && sha256sum *.mjs *.wasm > SHA256SUMS

clean:  ## remove the environment, caches and the demo
	rm -rf $(VENV) demo build dist site coverage.md src/*.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache \
		explorer/node_modules
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
