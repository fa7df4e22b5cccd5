# make compare [SEEDS=3] [QUICK=1] [SIZE=paper]: every system on audiocaps/test and on clotho/test, a table each: scores,
# differences from one row, parameters and seconds, and what each system was shown. Those that learn from a corpus'
# captions are tested on their own corpus and on the other one. Runs that other graphs have too are the same runs.
CHAIN = "compare"
AGAINST = "WSAC, PD"  # projection, which methods after it set out to better


wildcard_constraints:
    tested="|".join(CORPORA),


def wsac(trained, decoded=""):
    """The run of a decoder that was trained on the captions of `corpus`, by an inference strategy, on `other`; both are
    called as their overlays in configs/strategy/."""
    by = f"_{decoded}" if decoded else ""

    def run(corpus, other):
        return f"wsac_{corpus}{SIZE}_{trained}_{{seed}}{'' if corpus == other else f'_on_{other}'}{by}"

    return run


DRCAP = f"drcap_{{corpus}}{SIZE}_{{seed}}"


def drcap(corpus, other):
    """The run of DRCap, with the datastore of the corpus that it was trained on, on `other`."""
    return DRCAP.replace("{corpus}", corpus) + ("" if corpus == other else f"_on_{other}")


def drcap_options(tested):
    return wsac_options("test", tested).replace(DECODER, DRCAP)


# A system is one line in the first of these that fits: its name in the table, and its run.
LEARN_FROM_CAPTIONS = {
    "WSAC, no strategy": wsac("baseline"),
    "WSAC, NI": wsac("noise_injection_paper"),
    "WSAC, ES": wsac("embedding_shift"),
    "WSAC, NND": wsac("baseline", "nearest_neighbour"),
    AGAINST: wsac("baseline", "projection"),
    f"{AGAINST}, refined": wsac("baseline", "projection_refined"),
    "COMET": wsac("comet"),
    "COMET, at inference": wsac("baseline", "comet_inference"),
    "soft prompt": wsac("soft_prompt"),
    "hard prompt": wsac("hard_prompt"),
    "DRCap": drcap,
}
if not PAPER:  # the temperature was chosen on the miniature; at full size no pairs are read
    LEARN_FROM_CAPTIONS[f"{AGAINST}, sharper"] = wsac("baseline", "sharp_projection")
    LEARN_FROM_CAPTIONS["supervised, on pairs"] = wsac("supervised")
LEARN_FROM_NONE = {  # of the two corpora, or from 16 captions of audiocaps. {tested} is the corpus that is captioned,
    # {on_tested} is empty for audiocaps and _on_clotho for clotho
    "DALI, MMD": f"{{tested}}_mmd{SIZE}_seed{{seed}}",
    "DALI, OT": f"{{tested}}_ot{SIZE}_seed{{seed}}",
    "DALI, attentive OT": f"{{tested}}_attentive_ot{SIZE}_seed{{seed}}",
    "DALI, contrastive": f"{{tested}}_contrastive{SIZE}_seed{{seed}}",
    "DALI, OT and contrastive": f"{{tested}}_fused{SIZE}_seed{{seed}}",
    "DALI, distilled": f"{{tested}}_attentive_ot_distilled{SIZE}_seed{{seed}}",
    "audibility guidance": f"guided{BY}{SIZE}_seed{{seed}}_{'0.015' if PAPER else '0.06'}{{on_tested}}",
    "ZerAuCap": f"zeraucap_{{tested}}{SIZE}",
    "MILS": f"mils_{{tested}}{SIZE}",
}
if not PAPER:  # configs/refine/ names the miniature's CLAP
    LEARN_FROM_NONE["DALI, distilled, refined"] = "{tested}_attentive_ot_distilled" + f"{SIZE}_seed{{seed}}_refined"
    LEARN_FROM_NONE["audibility guidance, refined"] = f"guided{BY}{SIZE}_seed{{seed}}_0.06{{on_tested}}_refined"
SEE_PICTURES = {  # clotho has none
    "DALI, distilled, with picture": f"audiocaps_attentive_ot_image_distilled{SIZE}_seed{{seed}}",
}

across = f"{DECODER}_on_{{tested}}"
test("wsac_across", across, strategies, wsac_options("test", "{tested}"), [DECODER])
test("wsac_across_by_strategy", across, strategies, wsac_options("test", "{tested}"), [DECODER], f"{across}_{{decoded}}")
guided_on = f"guided{BY}{SIZE}_seed{{seed}}_{{lambda_2}}_on_{{tested}}"
test("guided_on", guided_on, guided_configs, f"{by_lambda} --data.test {{tested}}/test", [CLASSIFIER])
fit("drcap_fit", DRCAP, ["drcap", full("drcap")], drcap_options("{corpus}"))
test("drcap_test", DRCAP, ["drcap", full("drcap")], drcap_options("{corpus}"), [DRCAP])
test("drcap_across", f"{DRCAP}_on_{{tested}}", ["drcap", full("drcap")], drcap_options("{tested}"), [DRCAP])
test("mils", f"mils_{{tested}}{SIZE}", ["mils", full("mils")], "--data.test {tested}/test")

# CLAP-Refine, an overlay of each method's test
for name, run, options in (
    ("refined", DECODER, wsac_options("test")),
    ("refined_across", across, wsac_options("test", "{tested}")),
):
    suffix = "_{decoded}_refined"
    refined = lambda wildcards: [*strategies(wildcards), "refine/own_clap"]
    test(f"wsac_{name}", run, refined, f"{options} --run_suffix {suffix}", [DECODER], f"{run}{suffix}")
guided_run = f"guided{BY}{SIZE}_seed{{seed}}_{{lambda_2}}"
test("guided_refined", guided_run, [*guided_configs, "refine/one_search"], by_lambda, [CLASSIFIER], f"{guided_run}_refined")
test(
    "guided_on_refined",
    guided_on,
    [*guided_configs, "refine/one_search"],
    f"{by_lambda} --data.test {{tested}}/test",
    [CLASSIFIER],
    f"{guided_on}_refined",
)
test(
    "distilled_refined",
    "{tested}_{criterion}_distilled{size}_seed{seed}",
    [*DISTILLATION_CONFIGS, "refine/one_search"],
    f"--model.captioner.inputs audio --data.test {{tested}}/test {TEACHER} --export.source exports/{DISTILLED}",
    [PREFIX, ALIGNED, DISTILLED],
    "{tested}_{criterion}_distilled{size}_seed{seed}_refined",
)


def compared(corpus):
    """The table's rows on a corpus, and the run of each."""
    (other,) = (name for name in CORPORA if name != corpus)
    on_tested = "" if corpus == "audiocaps" else f"_on_{corpus}"
    found = {
        name: run.replace("{tested}", corpus).replace("{on_tested}", on_tested) for name, run in LEARN_FROM_NONE.items()
    }
    found |= SEE_PICTURES if corpus == "audiocaps" else {}
    found |= {name: run(corpus, corpus) for name, run in LEARN_FROM_CAPTIONS.items()}
    return found | {f"{name}, from {other}": run(other, corpus) for name, run in LEARN_FROM_CAPTIONS.items()}


QUICK_TITLE = f", QUICK: at most {FEW_CLIPS} clips of each split, training runs: {len(SEEDS)}" if WORLD == "quick" else ""
COMPARED = [
    summarize(
        f"compare_{corpus}",
        f"Every system on {corpus}/test{QUICK_TITLE}",
        f"compare {rows(compared(corpus))} --against '{AGAINST}' --shuffle '{AGAINST}' --costs --html {WORDS}"
        f" --constant-from {DATA}/{corpus}/val{TABLE} {'--no-java' if WORLD == 'quick' else ''}",
        f"compare_{corpus}{SIZE}.md",
        val_split(corpus) + tested(*compared(corpus).values()),
    )
    for corpus in CORPORA
]
of_others = [path for name in ("dali", "wsac", "audibility", "zeraucap") for path in READS[name]]
experiment("compare", *COMPARED, reads=[*of_others, f"{DATA}/audio_descriptions_per_class_405_v2.txt"])  # MILS's bank
