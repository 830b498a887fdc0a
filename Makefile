# Every task of this repository. `make run` and `make test` need only Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-fast lint audit advisories docs reference leaderboard leaderboard-check fashion-board photographs-board site bench bench-gpu bench-smoke bench-check bundle scaling example plugin
.PHONY: fashion-mnist browser slurm faults clean help

run: $(VENV)/.installed ## install, run every pruner on the embedded suite (RUN are more options), print the leaderboard
	$(BIN)/synflow-bench run --all $(RUN)

# Tests run in processes of one thread each, because two threads are slower on small networks. At most two slow tests
# run at a time: they start processes of their own, and some hold large networks.
PROCESSES ?= logical
test test-fast: export OMP_NUM_THREADS := 1

test: test-fast ## install with the development extra, run every test
	$(BIN)/python -m pytest -m slow -n $(PROCESSES) --maxprocesses 2 --dist worksteal

test-fast: $(VENV)/.installed-dev ## every test except the slow ones
	$(BIN)/python -m pytest -m "not slow" -n $(PROCESSES) --maxprocesses 4 --dist worksteal

lint: $(VENV)/.installed-dev ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Findings of low severity are those of ruff's rules S, which `make lint` checks too.
audit: $(VENV)/.installed-dev ## search the code for insecure constructs
	$(BIN)/bandit --quiet --recursive synflow_bench plugins -ll

advisories: $(VENV)/.installed-dev ## look the installed packages up in a database of vulnerabilities; needs the network
	$(BIN)/pip-audit --local --skip-editable

docs: $(VENV)/.installed-dev ## check that the reference fits the code, build the pages, fail on a broken link
	$(BIN)/python docs/generate --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

reference: $(VENV)/.installed-dev ## write the tables of the reference that come from the code
	$(BIN)/python docs/generate

SMOKE := leaderboard/smoke
FASHION := leaderboard/fashion
PHOTOGRAPHS := leaderboard/cifar10-jpeg

leaderboard: $(VENV)/.installed ## run the missing cells of the small suite, write its board
	$(BIN)/synflow-bench run --suite $(SMOKE)/suite.toml --results $(SMOKE)/results
	$(BIN)/synflow-bench leaderboard --results $(SMOKE)/results --output $(SMOKE)/board.md --force

leaderboard-check: $(VENV)/.installed-dev ## check the committed boards against their records, and the small one against a new training
	$(BIN)/synflow-bench results verify $(SMOKE)/results
	$(BIN)/synflow-bench leaderboard --results $(SMOKE)/results --check $(SMOKE)/board.md
	$(BIN)/python -m pytest tests/docs/test_smoke_board.py
	$(BIN)/synflow-bench results verify $(FASHION)/records.tar.gz
	$(BIN)/synflow-bench results verify $(FASHION)/earlier.tar.gz
	$(BIN)/synflow-bench results verify $(PHOTOGRAPHS)/records.tar.gz
	$(BIN)/synflow-bench results verify leaderboard/scoring-mode/records.tar.gz
	rm -rf build/check
	$(BIN)/synflow-bench results import $(FASHION)/records.tar.gz --results build/check/fashion
	$(BIN)/synflow-bench leaderboard --results build/check/fashion --check $(FASHION)/board.md
	$(BIN)/synflow-bench results import $(PHOTOGRAPHS)/records.tar.gz --results build/check/photographs
	$(BIN)/synflow-bench leaderboard --results build/check/photographs --check $(PHOTOGRAPHS)/board.md

# $(call board,FOLDER,SUITES,RESULTS): run the missing cells of the suites in a folder, write its records and board.
# Cells in the archive are not run again.
define board
	[ ! -e $(1)/records.tar.gz ] || $(BIN)/synflow-bench results import $(1)/records.tar.gz --results $(3)
	set -e; for suite in $(2); do $(BIN)/synflow-bench run --suite $(1)/$$suite.toml --results $(3); done
	$(BIN)/synflow-bench results export $(1)/records.tar.gz --results $(3) --force
	rm -rf $(3) && $(BIN)/synflow-bench results import $(1)/records.tar.gz --results $(3)
	$(BIN)/synflow-bench leaderboard --results $(3) --output $(1)/board.md --force
endef

fashion-board: $(VENV)/.installed ## run the missing cells of the project's own board, Fashion-MNIST and every pruner: hours on two cores
	$(call board,$(FASHION),fc fc-ablations conv conv-ablations,build/fashion)

# CIFAR10_JPEG names an archive of the images of CIFAR-10 as JPEG files in `train/CLASS` and `test/CLASS`.
CIFAR10_JPEG ?= build/cifar10-jpeg.tar.gz
photographs-board: $(VENV)/.installed ## run the missing cells of the board of all eras on photographs, write its records and board
	mkdir -p build/cifar10-jpeg && tar --extract --gzip --file $(CIFAR10_JPEG) --directory build/cifar10-jpeg
	$(call board,$(PHOTOGRAPHS),suite,build/photographs)

site: docs ## build the documentation with the boards, as it is published
	rm -rf build/site-boards
	$(BIN)/synflow-bench results import $(FASHION)/records.tar.gz --results build/site-boards
	$(BIN)/synflow-bench results import $(PHOTOGRAPHS)/records.tar.gz --results build/site-boards
	$(BIN)/synflow-bench leaderboard --results build/site-boards --format html --output site/leaderboard --force
	$(BIN)/synflow-bench leaderboard --results $(SMOKE)/results --format html --output site/smoke --force

bench: $(VENV)/.installed-dev ## the benchmarks, as ratios within one run
	$(BIN)/python -m pytest benchmarks --benchmark-enable --benchmark-only

bench-gpu: $(VENV)/.installed-dev ## check and measure on a CUDA device, beside conventional code (GPU are more options)
	$(BIN)/python benchmarks/bundle/run.py --output build/gpu-report $(GPU)

BUNDLE_PYTHON ?= 3.12

bundle: $(VENV)/.installed-dev ## build build/bundle, which does that without a network on another machine
	$(BIN)/python benchmarks/bundle/build.py --python $(BUNDLE_PYTHON) $(BUNDLE)

bench-smoke: $(VENV)/.installed-dev ## run every benchmark once, untimed
	$(BIN)/python -m pytest benchmarks

bench-check: $(VENV)/.installed-dev ## a minute of benchmarks as ratios, each below its limit
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s benchmarks/bench_ratios.py --benchmark-enable

faults: $(VENV)/.installed-dev ## break runs in many ways for ten minutes, write the page of what is lost
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fault_campaign.py --minutes 10 --soak 2000 --output docs/reference/faults.md

scaling: $(VENV)/.installed-dev ## measure how costs grow, simulate 1,000 GPUs, write the figures of the page
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/measure_scaling.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/simulate_cluster.py

example: $(VENV)/.installed-dev ## build both wheels, install them in a clean environment, run the example's plugin there
	$(BIN)/python -m pytest tests/testing/test_third_party.py

# For the CI of a plugin: PLUGIN is its folder, NAME what it registers, RUN are options of `run`, BOARD is where results go.
PLUGIN ?= .
BOARD ?= build/plugin
OTHERS := --pruner magnitude --pruner snip --pruner synflow --pruner random

plugin: $(VENV)/.installed ## install the plugin in PLUGIN, check NAME, run it beside other pruners, write the board
	$(BIN)/python -m pip install --quiet "$(PLUGIN)"
	$(BIN)/synflow-bench check "$(NAME)"
	$(BIN)/synflow-bench run $(or $(RUN),--pruner "$(NAME)" $(OTHERS)) --results "$(BOARD)/results"
	$(BIN)/synflow-bench leaderboard --results "$(BOARD)/results" --output "$(BOARD)/board.md" --force

AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)

fashion-mnist: ## install Debian's package of Fashion-MNIST, where there is apt-get
	@if [ ! -d /usr/share/datasets/fashion-mnist ] && command -v apt-get >/dev/null; then \
		$(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq dataset-fashion-mnist; fi

browser: ## install Debian's Chromium and its driver for the tests of the site, where there is apt-get
	@if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null; then \
		$(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq chromium chromium-driver; fi

slurm: ## install Debian's Slurm, of which a test starts one machine, where there is apt-get
	@if ! { command -v sbatch && command -v slurmctld && command -v slurmd && command -v munged; } >/dev/null && command -v apt-get >/dev/null; then \
		$(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq slurm-wlm munge; fi

clean: ## delete the environment and all caches
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .hypothesis .benchmarks .import_linter_cache

help: ## print these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	touch $@ $(VENV)/.installed
