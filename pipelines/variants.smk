# make variants [SEEDS=3] [SPLIT=test]: alignments that neither DALI's paper nor its code has (but for attentive_ot_mixed)
# beside its two by optimal transport, captions of audiocaps/val from audio alone, one table; and which image tokens each
# of them moves mass to.
CHAIN = "dali"
SPLIT = one_of("split", "val", "test")
VARIANTS = ["ot", "attentive_ot", "attentive_ot_mixed", "attentive_ot_centred", "attentive_ot_background"]
VARIANTS += ["ot_partial", "ot_unbalanced", "fused"]
on_split = f"--seed_everything {{seed}} --data.num_workers 0 --data.test audiocaps/{SPLIT} --export.source exports/{ALIGNED}"
test("variants_test", f"{ALIGNED}_{SPLIT}", align_configs, on_split, [ALIGNED])
VARIANT_ROWS = {name: f"dali_{name}_seed{{seed}}_{SPLIT}" for name in VARIANTS}
VARIANT_TABLE = summarize(
    f"variants_{SPLIT}_table",
    f"Variations of optimal transport on audiocaps/{SPLIT}",
    f"compare {rows(VARIANT_ROWS)} --against ot {WORDS}",
    "dali_variants.md" if SPLIT == "val" else "dali_variants_test.md",
    val_split("audiocaps") + tested(*VARIANT_ROWS.values()),
)
FIRST = [f"dali_{name}_seed{SEEDS[0]}" for name in VARIANTS]
VARIANT_MASS = f"{RESULTS}/dali_variants_mass.md"
step(
    "variants_mass",
    "variants_mass",
    f"{PYTHON} -m benchmarks.transported_mass {' '.join(f'runs/{run}' for run in FIRST)} --output {VARIANT_MASS}"
    " --title 'Which image tokens get mass'",
    VARIANT_MASS,
    [export(run) for run in FIRST],
)
experiment("variants", VARIANT_TABLE, VARIANT_MASS)
