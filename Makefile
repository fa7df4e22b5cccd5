# `make` alone lists what there is to do. Everything runs in a private environment, .venv, made by the first command
# that needs it. pip's own settings apply: PIP_EXTRA_INDEX_URL, for one, can name PyTorch's index of CPU builds.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo criteria wsac audibility test lint metrics clean
.DELETE_ON_ERROR:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "In the environment (source .venv/bin/activate), each with --help:"
	@echo "  python train.py {fit,validate,test,predict} --config configs/<stage>.yaml   or earshot-train"
	@echo "  python -m datamodules.prepare    corpora and folders to shards               or earshot-prepare"
	@echo "  python -m evaluation        scores of a captions file                   or earshot-score"
	@echo "  python -m reports.compare       one table of several runs                   or earshot-report"
	@echo "  python -m reports.sweep   table and figure over lambda_2        or earshot-sweep"

install: .venv/installed  ## the private environment with everything pinned (once; demo and test do it too)

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: expected Python 3.11 or newer, found $(PYTHON) = $$($(PYTHON) --version 2>&1 | tail -1); do make PYTHON=/path/to/python3.11" >&2; \
		exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	@touch $@

RUN := $(BIN)/python train.py
OT := --config configs/dali_ot.yaml
# the report scores everything in full, with Java where its files are: the tests before it need not wait for that
NO_JAVA := --evaluation.java false

demo: install  ## the main job: train the alignment on the miniature, caption sounds, print a table
	$(RUN) fit $(OT)
	$(RUN) test $(OT) $(NO_JAVA)
	$(RUN) test $(OT) --config configs/inputs/image.yaml $(NO_JAVA)
	$(RUN) test $(OT) --config configs/inputs/audio_image.yaml $(NO_JAVA)
	$(RUN) test $(OT) --config configs/baseline/pretrained.yaml $(NO_JAVA)
	$(BIN)/python -m miniature audiocaps/val
	$(BIN)/python -m reports.compare "sound=runs/dali_ot" "picture=runs/image" \
		"sound and picture=runs/dali_ot_audio_image" "sound, not aligned=runs/pretrained" --against "sound" \
		--shuffle sound --constant-from data/miniature/audiocaps/val --vocabulary assets/miniature/vocabulary.json \
		--output runs/demo.md

# of alignment; each is trained once for each of the first SEEDS seeds, two trainings at a time with one thread each
CRITERIA := ot mmd attentive_ot contrastive cauchy_schwarz
SEEDS ?= 1
SEED_LIST := $(wordlist 1,$(SEEDS),42 1 2 3 4 5 6 7)
comma := ,
empty :=
space := $(empty) $(empty)

criteria: install  ## train with every criterion and print one table (SEEDS=3: three trainings each)
	$(BIN)/python -m miniature audioset/train audioset/val audiocaps/val audiocaps/test
	OMP_NUM_THREADS=1 $(MAKE) -j 2 $(foreach seed,$(SEED_LIST),$(CRITERIA:%=criterion-%.$(seed)))
	$(RUN) validate $(OT) --config configs/baseline/pretrained.yaml
	$(RUN) test $(OT) --config configs/baseline/pretrained.yaml $(NO_JAVA)
	$(BIN)/python -m reports.compare $(foreach criterion,$(CRITERIA),"$(criterion)=$(subst $(space),$(comma),$(strip \
		$(SEED_LIST:%=runs/dali_$(criterion)_seed%)))") "not aligned=runs/pretrained" --against ot \
		--logged "val/modality_gap=modality gap" --vocabulary assets/miniature/vocabulary.json --output runs/criteria.md
	$(foreach seed,$(SEED_LIST),$(BIN)/python -m benchmarks.attention_weights runs/dali_attentive_ot_seed$(seed) &&) true

# criterion-mmd.1: fit, validate and test with configs/criterion/mmd.yaml, seed 1
criterion-%: CRITERION = $(OT) $(if $(filter-out ot.%,$*),--config configs/criterion/$(basename $*).yaml) \
	--run_name dali_$(basename $*)_seed$(subst .,,$(suffix $*)) --seed_everything $(subst .,,$(suffix $*)) \
	--data.num_workers 0
criterion-%:
	$(RUN) fit $(CRITERION)
	$(RUN) validate $(CRITERION)
	$(RUN) test $(CRITERION) $(NO_JAVA)

include dali.mk

wsac: install  ## WSAC: baseline, strategies and the supervised bound, a table each of audiocaps and clotho (SEEDS=3)
	$(BIN)/python -m miniature wavcaps/train
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory -j 2 wsac-audiocaps wsac-clotho

wsac-%:
	benchmarks/wsac.sh $(BIN)/python $* $(SEED_LIST)

# Table 2 of audibility guidance: a classifier is trained for each of the first SEEDS seeds, two at a time
LAMBDAS ?= 0 0.015 0.03 0.06 0.15 0.5
guided_runs = $(subst $(space),$(comma),$(strip $(SEED_LIST:%=runs/$(1)_seed%$(2))))

audibility: install  ## the audibility classifier, captions guided by it with each lambda_2, table and figure (SEEDS=3)
	$(BIN)/python -m miniature audiocaps/test sentences
	OMP_NUM_THREADS=1 $(MAKE) -j 2 $(SEED_LIST:%=audibility-%)
	$(BIN)/python -m reports.sweep $(foreach l,$(LAMBDAS),$(l)=$(call guided_runs,guided,_$(l))) \
		--beside "ZerAuCap=$(call guided_runs,keywords)" --vocabulary assets/miniature/vocabulary.json \
		--output runs/audibility.md

# audibility-42: the classifier of seed 42, and what it guides
audibility-%: GUIDED = --model.classifier exports/audibility_seed$* $(NO_JAVA) --evaluation.shown 0
audibility-%:
	$(RUN) fit --config configs/audibility.yaml --seed_everything $* --run_name audibility_seed$*
	$(RUN) test --config configs/audibility.yaml --seed_everything $* --run_name audibility_seed$*
	for l in $(LAMBDAS); do $(RUN) test --config configs/guided.yaml $(GUIDED) --run_name guided_seed$*_$$l \
		--model.guidance.init_args.lambda_2 $$l || exit; done
	$(RUN) test --config configs/keywords.yaml $(GUIDED) --run_name keywords_seed$*

test: install  ## all tests but the slow ones and those that need a GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

metrics: install  ## fetch what METEOR and SPICE need (Java does the rest)
	$(BIN)/python -m evaluation --fetch

clean:  ## remove the environment and caches; runs, exports and data stay
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: docs
docs: install  ## the documentation, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
