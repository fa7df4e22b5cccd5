# make audibility [SEEDS=3]: Table 2 of audibility guidance. A classifier for each seed guides captions with each
# lambda_2; ZerAuCap's keywords beside them, scored by the same classifier.
LAMBDAS = str(config.get("lambdas", "0 0.015 0.03 0.06 0.15 0.5")).split()
CLASSIFIER = "audibility_seed{seed}"
GUIDED = "--model.classifier exports/audibility_seed{seed} --evaluation.shown 0"


wildcard_constraints:
    lambda_2=r"[\d.]+",


fit("audibility_fit", CLASSIFIER, ["audibility"], "--seed_everything {seed}", splits("sentences"))
test("audibility_test", CLASSIFIER, ["audibility"], "--seed_everything {seed}", [export(CLASSIFIER)])
needs = splits("audiocaps/test") + [export(CLASSIFIER)]
test("guided", "guided_seed{seed}_{lambda_2}", ["guided"], f"{GUIDED} --model.guidance.init_args.lambda_2 {{lambda_2}}", needs)
test("keywords", "keywords_seed{seed}", ["keywords"], GUIDED, needs)
SWEEP = summarize(
    "audibility_sweep",
    f"sweep {' '.join(row(value, 'guided_seed{seed}_{lambda_2}', lambda_2=value) for value in LAMBDAS)}"
    f" --beside {row('ZerAuCap', 'keywords_seed{seed}')} {WORDS}",
    f"{RESULTS}/audibility.md",
    tested("guided_seed{seed}_{lambda_2}", lambda_2=LAMBDAS) + tested("keywords_seed{seed}"),
)


rule audibility:
    input:
        SWEEP,
        tested(CLASSIFIER),
