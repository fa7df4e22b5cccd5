# `make` alone lists what there is to do. Everything runs in a private environment, .venv, made by the first command
# that needs it. pip's own settings apply: PIP_EXTRA_INDEX_URL, for one, can name PyTorch's index of CPU builds.
PYTHON ?= python3
BIN ?= .venv/bin

.DEFAULT_GOAL := help
EXPERIMENTS := compare demo criteria variants dali dali-pairs dali-bias dali-examples wsac audibility zeraucap
.PHONY: help install $(EXPERIMENTS) app graph test lint docs metrics clean
.DELETE_ON_ERROR:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "The experiments take SEEDS=3 (training runs of each), JOBS=2 (jobs at a time), RESULTS=docs/results (where reports"
	@echo "go), DRY=1 (only show the jobs) and SLURM=1 (submit them); compare, dali, wsac, audibility and zeraucap SIZE=paper"
	@echo "(full size); compare QUICK=1 (one training run, few clips: CLIPS=200); dali QUICK=1 (one criterion), IDS=list.csv"
	@echo "(train on these clips); audibility PROTOCOL=authors (their way to score); variants SPLIT=test (val by default);"
	@echo "ARGS='...' (more arguments of every train.py). docs/commands.md has all of them."
	@echo
	@echo "In the environment (source .venv/bin/activate), each with --help:"
	@echo "  earshot train {fit,validate,test,predict} --config configs/<stage>.yaml   or python train.py"
	@echo "  earshot prepare      corpora and folders to shards"
	@echo "  earshot score        scores of a captions file"
	@echo "  earshot report       tables and figures of several runs"
	@echo "  earshot caption      captions of any audio and video files"
	@echo "  earshot app          the same on a page in the browser"
	@echo "  earshot push         an export to the Hugging Face hub"
	@echo "  earshot miniature    the world that ships: its splits, its small models"

install: .venv/installed  ## the private environment with everything pinned (once; the others do it too)

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: expected Python 3.11 or newer, found $(PYTHON) = $$($(PYTHON) --version 2>&1 | tail -1); do make PYTHON=/path/to/python3.11" >&2; \
		exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@

# the experiments: pipelines/ has what they do; an environment of one's own (BIN=/path/to/bin) is taken as it is
ENVIRONMENT := $(if $(filter .venv/bin,$(BIN)),.venv/installed)
JOBS ?= 2
COMPARES = $(filter compare,$@)
CONFIG = $(if $(SEEDS),seeds=$(SEEDS),$(if $(COMPARES),seeds=$(if $(QUICK),1,3))) \
	$(if $(QUICK),$(if $(COMPARES),size=quick,quick=1)) $(if $(SIZE),size=$(SIZE)) \
	$(if $(RESULTS),results=$(RESULTS)) $(if $(LAMBDAS),lambdas='$(LAMBDAS)') $(if $(PAIRS),pairs='$(PAIRS)') \
	$(if $(VOCABULARY),vocabulary=$(VOCABULARY)) $(if $(PROTOCOL),protocol=$(PROTOCOL)) \
	$(if $(IDS),ids=$(IDS)) $(if $(KEEP),keep=$(KEEP)) $(if $(CLIPS),clips=$(CLIPS)) $(if $(SPLIT),split=$(SPLIT)) \
	$(if $(ARGS),extra='$(ARGS)')
SNAKEMAKE = $(BIN)/python -m snakemake --snakefile pipelines/Snakefile \
	$(if $(SLURM),--workflow-profile pipelines/profiles/slurm,--cores $(JOBS)) $(if $(DRY),--dry-run)
compare: $(ENVIRONMENT)  ## every system on the same clips: scores, costs, what each was shown, and on the other corpus
demo: $(ENVIRONMENT)  ## the main job: train the alignment on the miniature, caption audio, print a table
criteria: $(ENVIRONMENT)  ## train with every criterion and print one table
variants: $(ENVIRONMENT)  ## train with variations of optimal transport and print one table
dali: $(ENVIRONMENT)  ## DALI's chain: prefix, alignment, pseudo-captions, distillation, tests, one table
dali-pairs: $(ENVIRONMENT)  ## DALI's Figure 5: captions of audio by number of pairs, with a plot
dali-bias: $(ENVIRONMENT)  ## DALI's Table 2: the visual-bias probe of each criterion
dali-examples: $(ENVIRONMENT)  ## DALI's Table 4: captions of the same clips by each criterion
wsac: $(ENVIRONMENT)  ## WSAC: baseline, strategies and the supervised bound, a table each of audiocaps and clotho
audibility: $(ENVIRONMENT)  ## the audibility classifier, captions guided by it with each lambda_2, table and figure
zeraucap: $(ENVIRONMENT)  ## ZerAuCap, which needs no training, a table each of audiocaps and clotho

$(EXPERIMENTS):
	@$(BIN)/python -c 'import snakemake' 2>/dev/null || { \
		echo "error: expected Snakemake in $(BIN), found none; do make install, or $(BIN)/python -m pip install 'snakemake>=9,<10'" >&2; \
		exit 2; }
	$(SNAKEMAKE) $(subst -,_,$@) $(if $(strip $(CONFIG)),--config $(strip $(CONFIG)))
	$(if $(filter demo,$@),$(if $(DRY)$(SLURM),,@echo "report, to open in a browser: $(or $(RESULTS),runs)/demo.html"))

graph: $(ENVIRONMENT)  ## draw docs/images/pipeline_dali.svg (needs graphviz)
	$(BIN)/python -m snakemake --snakefile pipelines/Snakefile dali --rulegraph --cores 1 --config quick=1 2>/dev/null \
		| dot -Tsvg > docs/images/pipeline_dali.svg

app: $(ENVIRONMENT)  ## a page in the browser of this machine: drop, record or put together a sound, read its captions
	$(BIN)/python -m earshot app

PROCESSES ?= 2
test: $(ENVIRONMENT)  ## all tests but the slow ones and those that need a GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

slow: $(ENVIRONMENT)  ## the tests that take minutes: a chain killed in every kind of step, a wheel, threads
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "slow and not gpu"

lint: $(ENVIRONMENT)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

metrics: $(ENVIRONMENT)  ## fetch what METEOR and SPICE need (Java does the rest)
	$(BIN)/python -m evaluation --fetch

clean:  ## remove the environment and caches; runs, exports and data stay
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .snakemake
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

docs: $(ENVIRONMENT)  ## the documentation, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
