# make audibility [SEEDS=3]: Table 2 of audibility guidance. A classifier for each seed guides captions with each
# lambda_2; ZerAuCap's keywords beside them, scored by the same classifier.
LAMBDAS = str(config.get("lambdas", "0 0.015 0.03 0.06 0.15 0.5")).split()
CLASSIFIER = "audibility_seed{seed}"
GUIDED = f"--model.classifier exports/{CLASSIFIER} --evaluation.shown 0"
LAMBDA_ROWS = {value: f"guided_seed{{seed}}_{value}" for value in LAMBDAS}
KEYWORD_ROW = {"ZerAuCap": "keywords_seed{seed}"}


wildcard_constraints:
    lambda_2=r"[\d.]+",


fit("audibility_fit", CLASSIFIER, ["audibility"], "--seed_everything {seed}")
test("audibility_test", CLASSIFIER, ["audibility"], "--seed_everything {seed}", [CLASSIFIER])
by_lambda = f"{GUIDED} --model.guidance.init_args.lambda_2 {{lambda_2}}"
test("guided", "guided_seed{seed}_{lambda_2}", ["guided"], by_lambda, [CLASSIFIER])
test("keywords", KEYWORD_ROW["ZerAuCap"], ["keywords"], GUIDED, [CLASSIFIER])
SWEEP = summarize(
    "audibility_sweep",
    "Audibility guidance by the weight of the classifier",
    f"sweep {rows(LAMBDA_ROWS)} --beside {rows(KEYWORD_ROW)} {WORDS}",
    "audibility.md",
    tested(*LAMBDA_ROWS.values(), *KEYWORD_ROW.values()),
)
experiment("audibility", SWEEP, tested(CLASSIFIER))
