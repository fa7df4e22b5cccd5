# make criteria [SEEDS=3]: the alignment of dali.smk with every criterion, captions from audio alone, one table, and
# whether attentive optimal transport weighs what sounds.
CHAIN = "dali"  # whose alignments are tested
CRITERIA = ["ot", "mmd", "attentive_ot", "contrastive", "cauchy_schwarz"]
OPTIONS = "--seed_everything {seed} --data.num_workers 0"
VALIDATED = "runs/{}/validated"

test("criteria_test", ALIGNED, align_configs, OPTIONS, [ALIGNED])
train("validate", "criteria_validate", ALIGNED, align_configs, OPTIONS, [ALIGNED], touch(VALIDATED.format(ALIGNED)))
train(
    "validate", "criteria_pretrained", "pretrained", ["dali_ot", "baseline/pretrained"], "", [],
    touch(VALIDATED.format("pretrained")), threads=all_cores,
)
CRITERIA_ROWS = {name: f"dali_{name}_seed{{seed}}" for name in CRITERIA} | {"not aligned": "pretrained"}
CRITERIA_TABLE = summarize(
    "criteria_table",
    "The alignment criteria",
    f'compare {rows(CRITERIA_ROWS)} --against ot --logged "val/modality_gap=modality gap" {WORDS}',
    "criteria.md",
    tested(*CRITERIA_ROWS.values())
    + [VALIDATED.format(name) for run in CRITERIA_ROWS.values() for name in each_seed(run)],
)
ATTENTIVE = "dali_attentive_ot_seed{seed}"
step(
    "attention_weights",
    f"{ATTENTIVE}.attention_weights",
    f"{PYTHON} -m benchmarks.attention_weights runs/{ATTENTIVE}",
    touch(MARKS.format("attention_weights_seed{seed}")),
    [export(ATTENTIVE)],
)
experiment("criteria", CRITERIA_TABLE, expand(MARKS.format("attention_weights_seed{seed}"), seed=SEEDS))
