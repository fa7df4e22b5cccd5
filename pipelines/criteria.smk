# make criteria [SEEDS=3]: the alignment of dali.smk with every criterion, captions from sound alone, one table, and
# whether attentive optimal transport weighs what sounds.
CRITERIA = ["ot", "mmd", "attentive_ot", "contrastive", "cauchy_schwarz"]
OPTIONS = "--seed_everything {seed} --data.num_workers 0"

for command, split in {"validate": "audioset/val", "test": "audiocaps/test"}.items():
    test(f"criteria_{command}", ALIGNED, align_configs, OPTIONS, splits(split) + [export(ALIGNED)], command=command)
test(
    "criteria_pretrained",
    "pretrained",
    ["dali_ot", "baseline/pretrained"],
    after=splits("audioset/val"),
    command="validate",
    threads=all_cores,
)
CRITERIA_RUNS = {criterion: f"dali_{criterion}_seed{{seed}}" for criterion in CRITERIA} | {"not aligned": "pretrained"}
CRITERIA_TABLE = summarize(
    "criteria_table",
    f"compare {' '.join(row(name, run) for name, run in CRITERIA_RUNS.items())} --against ot"
    f' --logged "val/modality_gap=modality gap" {WORDS}',
    f"{RESULTS}/criteria.md",
    [mark for run in CRITERIA_RUNS.values() for mark in tested(run) + [m.replace("tested", "validated") for m in tested(run)]],
)
step(
    "attention_weights",
    "dali_attentive_ot_seed{seed}.attention_weights",
    f"{PYTHON} -m benchmarks.attention_weights runs/dali_attentive_ot_seed{{seed}}",
    touch(MARKS.format("attention_weights_seed{seed}")),
    [export("dali_attentive_ot_seed{seed}")],
)


rule criteria:
    input:
        CRITERIA_TABLE,
        expand(MARKS.format("attention_weights_seed{seed}"), seed=SEEDS),
