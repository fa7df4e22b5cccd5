# make audibility [SEEDS=3] [SIZE=paper]: Table 2 of audibility guidance. A classifier for each seed guides captions with each
# lambda_2; ZerAuCap's keywords beside them, scored by the same classifier.
SIX = "0 0.015 0.03 0.06 0.15 0.5"
FOURTEEN = "0 0.015 0.03 0.06 0.09 0.12 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5"  # the paper's
LAMBDAS = str(config.get("lambdas", FOURTEEN if PAPER else SIX)).split()
CLASSIFIER = f"audibility{SIZE}_seed{{seed}}"
GUIDED = f"--model.classifier exports/{CLASSIFIER} --evaluation.shown 0"
LAMBDA_ROWS = {value: f"guided{SIZE}_seed{{seed}}_{value}" for value in LAMBDAS}
KEYWORD_ROW = {"ZerAuCap": f"keywords{SIZE}_seed{{seed}}"}
CLASSIFIER_CONFIGS = ["audibility", full("audibility_classifier")]


wildcard_constraints:
    lambda_2=r"[\d.]+",


fit("audibility_fit", CLASSIFIER, CLASSIFIER_CONFIGS, "--seed_everything {seed}")
test("audibility_test", CLASSIFIER, CLASSIFIER_CONFIGS, "--seed_everything {seed}", [CLASSIFIER])
by_lambda = f"{GUIDED} --model.guidance.init_args.lambda_2 {{lambda_2}}"
guided_configs = ["guided", full("guided_captioner")]
test("guided", f"guided{SIZE}_seed{{seed}}_{{lambda_2}}", guided_configs, by_lambda, [CLASSIFIER])
test("keywords", KEYWORD_ROW["ZerAuCap"], ["keywords", full("keywords")], GUIDED, [CLASSIFIER])
SWEEP = summarize(
    "audibility_sweep",
    "Audibility guidance by the weight of the classifier",
    f"sweep {rows(LAMBDA_ROWS)} --beside {rows(KEYWORD_ROW)} {WORDS}",
    f"audibility{SIZE}.md",
    tested(*LAMBDA_ROWS.values(), *KEYWORD_ROW.values()),
)
experiment("audibility", SWEEP, tested(CLASSIFIER))
