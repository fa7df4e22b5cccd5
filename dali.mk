# DALI's whole chain. Each stage is a target that names the exports it reads, so that `make` runs them in order, runs
# none twice, and after a kill goes on with the one that was killed:
#
#   prefix -> alignment -> pseudo-captions -> distillation -> tests on audiocaps and clotho -> one table
#
# make dali                  one training of each
# make dali SEEDS=3          three of each, seeds 42, 1 and 2; the table averages them
# make dali QUICK=1          attentive optimal transport alone
# make dali SIZE=paper       full size, on the shards in data/ (slurm/dali.sh makes jobs of it)
QUICK ?=
SIZE ?= miniature
JOBS ?= 2

DALI_CRITERIA := $(if $(QUICK),attentive_ot,mmd ot attentive_ot contrastive)
full = $(if $(filter paper,$(SIZE)),--config configs/paper/$(1).yaml)
seed = $(if $(filter paper,$(SIZE)),_paper)_seed$(1)
VOCABULARY ?= $(if $(filter paper,$(SIZE)),,assets/miniature/vocabulary.json)
vocabulary := $(if $(VOCABULARY),--vocabulary $(VOCABULARY))
# every row is scored in full by the report: the tests before it need not wait for Java
TEST := $(RUN) test $(NO_JAVA)

PREFIX_CONFIG := --config configs/llava_prefix.yaml $(call full,llava_prefix_tuning)
PSEUDO_CONFIG := --config configs/pseudo_captions.yaml $(call full,pseudo_captions)
DISTILL_CONFIG := --config configs/distillation.yaml $(call full,audiovisual_distillation)
align_config = --config configs/dali_ot.yaml $(if $(filter ot,$(1)),,--config configs/criterion/$(1).yaml) \
	$(call full,token_alignment) $(if $(filter attentive_ot,$(1)),$(call full,attentive_ot))

# the miniature's splits, before stages that run side by side would write them twice
DATA_READY := $(if $(filter paper,$(SIZE)),,data/miniature/dali_ready)
ROOT := $(if $(filter paper,$(SIZE)),data,data/miniature)
dali-data: $(DATA_READY)
data/miniature/dali_ready:
	$(BIN)/python -m miniature audioset/train audioset/val audioset/balanced audiocaps/train \
		audiocaps/val audiocaps/test clotho/val clotho/test
	@touch $@

# prefix, pictures: $(1) suffix, $(2) seed
define per_seed
exports/llava_prefix$(1)/provenance.json: | $(DATA_READY)
	$(RUN) fit $(PREFIX_CONFIG) --seed_everything $(2) --run_name llava_prefix$(1)
runs/audiocaps_image$(1)/tested: exports/llava_prefix$(1)/provenance.json
	$(TEST) $(PREFIX_CONFIG) --run_name audiocaps_image$(1) --export.source exports/llava_prefix$(1)
	@touch $$@
endef
# alignment to distillation: $(1) suffix, $(2) seed, $(3) criterion
define per_criterion
exports/dali_$(3)$(1)/provenance.json: | $(DATA_READY)
	$(RUN) fit $(call align_config,$(3)) --seed_everything $(2) --run_name dali_$(3)$(1) \
		$(if $(filter paper,$(SIZE)),,--data.num_workers 0)
exports/pseudo_captions_$(3)$(1)/captions.csv: exports/llava_prefix$(1)/provenance.json exports/dali_$(3)$(1)/provenance.json
	$(RUN) predict $(PSEUDO_CONFIG) --run_name pseudo_captions_$(3)$(1) --export.source exports/dali_$(3)$(1) \
		--model.prefix exports/llava_prefix$(1)
exports/distillation_$(3)$(1)/provenance.json: exports/pseudo_captions_$(3)$(1)/captions.csv
	$(RUN) fit $(DISTILL_CONFIG) $(call teacher,$(1),$(3)) --seed_everything $(2) --run_name distillation_$(3)$(1) \
		--data.captions exports/pseudo_captions_$(3)$(1)/captions.csv
endef
teacher = --model.prefix exports/llava_prefix$(1) \
	--model.audio_encoder.init_args.pretrained_model_name_or_path exports/dali_$(2)$(1)
# a row of the table, not distilled and distilled: $(1) suffix, $(2) criterion, $(3) name of the inputs, $(4) inputs, $(5) corpus
define per_test
runs/$(5)_$(2)$(3)$(1)/tested: exports/llava_prefix$(1)/provenance.json exports/dali_$(2)$(1)/provenance.json
	$(TEST) $(call align_config,$(2)) --run_name $(5)_$(2)$(3)$(1) --model.inputs $(4) --data.test $(5)/test \
		--export.source exports/dali_$(2)$(1) --model.prefix exports/llava_prefix$(1)
	@touch $$@
runs/$(5)_$(2)$(3)_distilled$(1)/tested: exports/distillation_$(2)$(1)/provenance.json
	$(TEST) $(DISTILL_CONFIG) $(call teacher,$(1),$(2)) --run_name $(5)_$(2)$(3)_distilled$(1) --model.inputs $(4) \
		--data.test $(5)/test --export.source exports/distillation_$(2)$(1)
	@touch $$@
endef

$(foreach s,$(SEED_LIST),$(eval $(call per_seed,$(call seed,$(s)),$(s))))
$(foreach s,$(SEED_LIST),$(foreach c,$(DALI_CRITERIA),$(eval $(call per_criterion,$(call seed,$(s)),$(s),$(c)))))
$(foreach s,$(SEED_LIST),$(foreach c,$(DALI_CRITERIA),$(foreach d,audiocaps clotho,\
	$(eval $(call per_test,$(call seed,$(s)),$(c),,audio,$(d))))))
$(foreach s,$(SEED_LIST),$(eval $(call per_test,$(call seed,$(s)),attentive_ot,_image,audio+image,audiocaps)))

# the pictures' captions without a prefix, which no training changes
IMAGE := --config configs/dali_ot.yaml --config configs/inputs/image.yaml $(call full,token_alignment)
runs/audiocaps_image_without_prefix/tested runs/audiocaps_image_written_prompt/tested: runs/audiocaps_image_%/tested: | $(DATA_READY)
	$(TEST) $(IMAGE) --config configs/prompt/$(if $(filter written%,$*),written,$*).yaml --run_name audiocaps_image_$* \
		--export.load false
	@touch $@

# the table's rows; a row of several seeds averages them
runs_of = $(subst $(space),$(comma),$(strip $(foreach s,$(SEED_LIST),runs/$(1)$(call seed,$(s)))))
row = "$(1)=$(call runs_of,$(2))"
tested = $(foreach s,$(SEED_LIST),runs/$(1)$(call seed,$(s))/tested)
AUDIOCAPS_ROWS := image attentive_ot_image attentive_ot_image_distilled $(DALI_CRITERIA) $(DALI_CRITERIA:=_distilled)
CLOTHO_ROWS := $(DALI_CRITERIA) $(DALI_CRITERIA:=_distilled)
report = $(BIN)/python -m reports.compare $(foreach r,$(3),$(call row,$(r),$(1)_$(r))) $(4) --against attentive_ot \
	--constant-from $(ROOT)/$(1)/val $(vocabulary) \
	--output runs/$(2).md
DALI_TESTED := $(foreach r,$(AUDIOCAPS_ROWS),$(call tested,audiocaps_$(r))) $(foreach r,$(CLOTHO_ROWS),$(call tested,clotho_$(r))) \
	runs/audiocaps_image_without_prefix/tested runs/audiocaps_image_written_prompt/tested

# of one criterion and seed, for a job
define tests_of
.PHONY: dali-tests-$(2)$(1)
dali-tests-$(2)$(1): $(foreach d,audiocaps clotho,runs/$(d)_$(2)$(1)/tested runs/$(d)_$(2)_distilled$(1)/tested) \
	$(if $(filter attentive_ot,$(2)),runs/audiocaps_image$(1)/tested runs/audiocaps_$(2)_image$(1)/tested \
	runs/audiocaps_$(2)_image_distilled$(1)/tested)
endef
$(foreach s,$(SEED_LIST),$(foreach c,$(DALI_CRITERIA),$(eval $(call tests_of,$(call seed,$(s)),$(c)))))
print-seeds:
	@echo $(foreach s,$(SEED_LIST),$(call seed,$(s)))
print-criteria:
	@echo $(DALI_CRITERIA)

.PHONY: dali dali-data dali-stages dali-table dali-pairs dali-bias dali-examples print-seeds print-criteria
dali: install  ## DALI's chain: prefix, alignment, pseudo-captions, distillation, tests, one table (QUICK=1, SEEDS=3)
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --jobs $(JOBS) dali-stages
	$(MAKE) --no-print-directory dali-table

dali-stages: $(DALI_TESTED)

dali-table: $(DALI_TESTED)
	$(call report,audiocaps,dali_audiocaps,$(AUDIOCAPS_ROWS),"image_without_prefix=runs/audiocaps_image_without_prefix" \
		"image_written_prompt=runs/audiocaps_image_written_prompt")
	$(call report,clotho,dali_clotho,$(CLOTHO_ROWS))
	$(BIN)/python -m reports.paper --audiocaps runs/dali_audiocaps.csv --clotho runs/dali_clotho.csv --output runs/dali.md

# Figure 5: how many pairs the prefix needs
PAIRS ?= 1 4 16 64
define per_pairs
runs/llava_prefix_$(3)_pairs$(1)/tested: | $(DATA_READY)
	$(RUN) fit $(PREFIX_CONFIG) --seed_everything $(2) --data.num_pairs $(3) --run_name llava_prefix_$(3)_pairs$(1)
	$(TEST) $(PREFIX_CONFIG) --run_name llava_prefix_$(3)_pairs$(1)
	@touch $$@
endef
$(foreach s,$(SEED_LIST),$(foreach n,$(PAIRS),$(eval $(call per_pairs,$(call seed,$(s)),$(s),$(n)))))
dali-pairs: $(foreach n,$(PAIRS),$(call tested,llava_prefix_$(n)_pairs))  ## the picture's captions by number of pairs, with a plot
	$(BIN)/python -m reports.plot $(foreach n,$(PAIRS),"$(n)=$(call runs_of,llava_prefix_$(n)_pairs)") \
		--label "pairs of picture and caption" --output runs/num_pairs.png

# Table 2: what is seen in a sound
dali-bias: $(foreach c,$(DALI_CRITERIA),runs/visual_bias_$(c)/tested)  ## the visual-bias probe of each criterion
	$(BIN)/python -m reports.examples $(foreach c,$(DALI_CRITERIA),"$(c)=runs/visual_bias_$(c)") \
		$(vocabulary) --output runs/visual_bias.md
runs/visual_bias_%/tested: exports/dali_%$(call seed,42)/provenance.json
	$(TEST) $(call align_config,$*) --config configs/prompt/visual_bias.yaml --run_name visual_bias_$* \
		--export.source exports/dali_$*$(call seed,42)
	@touch $@

# Table 4: captions of each criterion, not distilled
dali-examples: $(foreach c,$(DALI_CRITERIA),runs/audiocaps_$(c)$(call seed,42)/tested)  ## captions of the same sounds by each criterion
	$(BIN)/python -m reports.examples $(foreach c,$(DALI_CRITERIA),"$(c)=runs/audiocaps_$(c)$(call seed,42)") --output runs/examples.md
