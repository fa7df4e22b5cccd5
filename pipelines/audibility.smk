# make audibility [SEEDS=3] [SIZE=paper] [PROTOCOL=authors]: Table 2 of audibility guidance. A classifier for each seed
# guides captions with each lambda_2; ZerAuCap's keywords beside them, scored by the same classifier. By the authors'
# protocol captions keep the prompt and each clip has one reference; at full size they also come as from their code.
CHAIN = "audibility"
SIX = "0 0.015 0.03 0.06 0.15 0.5"
FOURTEEN = "0 0.015 0.03 0.06 0.09 0.12 0.15 0.2 0.25 0.3 0.35 0.4 0.45 0.5"  # the paper's
LAMBDAS = str(config.get("lambdas", FOURTEEN if PAPER else SIX)).split()
AUTHORS = one_of("protocol", "paper", "authors") == "authors"
BY = "_authors" if AUTHORS else ""  # in the names of runs
CLASSIFIER = f"audibility{SIZE}_seed{{seed}}"
GUIDED = f"--model.classifier exports/{CLASSIFIER} --evaluation.shown 0"
LAMBDA_ROWS = {value: f"guided{BY}{SIZE}_seed{{seed}}_{value}" for value in LAMBDAS}
KEYWORD_ROW = {"ZerAuCap": f"keywords{BY}{SIZE}_seed{{seed}}"}
CLASSIFIER_CONFIGS = ["audibility", full("audibility_classifier")]


wildcard_constraints:
    lambda_2=r"[\d.]+",


fit("audibility_fit", CLASSIFIER, CLASSIFIER_CONFIGS, "--seed_everything {seed}", clips=False)
test("audibility_test", CLASSIFIER, CLASSIFIER_CONFIGS, "--seed_everything {seed}", [CLASSIFIER], clips=False)
by_lambda = f"{GUIDED} --model.guidance.init_args.lambda_2 {{lambda_2}}"
scored = "authors/guided_scores" if AUTHORS else ""
guided_configs = ["guided", full("guided_captioner"), "authors/guided" if AUTHORS and PAPER else "", scored]
test("guided", f"guided{BY}{SIZE}_seed{{seed}}_{{lambda_2}}", guided_configs, by_lambda, [CLASSIFIER])
test("keywords", KEYWORD_ROW["ZerAuCap"], ["keywords", full("keywords"), scored], GUIDED, [CLASSIFIER])
SWEEP = summarize(
    f"audibility_sweep{BY}",
    "Audibility guidance by the weight of the classifier" + (", the authors' protocol" if AUTHORS else ""),
    f"sweep {rows(LAMBDA_ROWS)} --beside {rows(KEYWORD_ROW)} {WORDS}",
    f"audibility{BY}{SIZE}.md",
    tested(*LAMBDA_ROWS.values(), *KEYWORD_ROW.values()),
)
KEYWORDS_READ = ["checkpoints/HTSAT-BERT-PT.pt", f"{DATA}/class_labels_indices.csv"]
SENTENCES = [f"{DATA}/audibility/{name}.txt" for name in ("audible", "notAudible")]
READ = [*packed("audiocaps/test"), *SENTENCES, "checkpoints/imagebind_huge.pth", *KEYWORDS_READ]
experiment("audibility", SWEEP, tested(CLASSIFIER), reads=READ)
