# make variants [SEEDS=3] [SPLIT=test]: alignments that neither DALI's paper nor its code has (but for attentive_ot_mixed)
# beside its two by optimal transport, captions of audiocaps/val from audio alone, one table; and which image tokens each
# of them moves mass to.
CHAIN = "dali"
SPLIT = one_of("split", "val", "test")
VARIANTS = {
    "attentive_ot_mixed": "criterion/attentive_ot_mixed",
    "attentive_ot_centred": "criterion/attentive_ot_centred",
    "attentive_ot_background": "criterion/attentive_ot_background",
    "ot_partial": "solver/partial",
    "ot_unbalanced": "solver/unbalanced",
    "fused": "criterion/fused",
}
VARIED = "dali_{variant}_seed{seed}"
VARIANT_TEST = f"--seed_everything {{seed}} --data.num_workers 0 --data.test audiocaps/{SPLIT} --export.source exports"


wildcard_constraints:
    variant="|".join(VARIANTS),


def variant_configs(wildcards):
    return ["dali_ot", VARIANTS[wildcards.variant]]


fit("variants_fit", VARIED, variant_configs, "--seed_everything {seed} --data.num_workers 0")
test("variants_test", f"{VARIED}_{SPLIT}", variant_configs, f"{VARIANT_TEST}/{VARIED}", [VARIED])
test("variants_of_dali", f"{ALIGNED}_{SPLIT}", align_configs, f"{VARIANT_TEST}/{ALIGNED}", [ALIGNED])
VARIANT_ROWS = {name: f"dali_{name}_seed{{seed}}_{SPLIT}" for name in ("ot", "attentive_ot", *VARIANTS)}
VARIANT_TABLE = summarize(
    f"variants_{SPLIT}_table",
    f"Variations of optimal transport on audiocaps/{SPLIT}",
    f"compare {rows(VARIANT_ROWS)} --against ot {WORDS}",
    "dali_variants.md" if SPLIT == "val" else "dali_variants_test.md",
    val_split("audiocaps") + tested(*VARIANT_ROWS.values()),
)
FIRST = [f"dali_{name}_seed{SEEDS[0]}" for name in ("ot", "attentive_ot", *VARIANTS)]
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
