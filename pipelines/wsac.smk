# make wsac [SEEDS=3] [SIZE=paper]: WSAC's Table 1 on audiocaps and on clotho: baseline, training strategies, inference
# strategies; on the miniature also the best pair of both as the first seed chooses it on val, and the supervised bound.
# At full size no audio of train and val is read, as in the paper: captions come from CSV tables, the shift from wavcaps.
CHAIN = "wsac"
CORPORA = ["audiocaps", "clotho"]
DECODER = f"wsac_{{corpus}}{SIZE}_{{trained}}_{{seed}}"
TRAINED = ["baseline", "noise_injection", "noise_injection_paper", "embedding_shift", "supervised"]
DECODED = ["nearest_neighbour", "projection", "reference"]
BOTH = [(t, d) for t in TRAINED[1:4] for d in DECODED[:2]]


wildcard_constraints:
    trained="|".join(["baseline", *overlay_names("strategy")]),
    decoded="|".join(overlay_names("strategy")),
    on_val="(_val)?",


def strategies(wildcards):
    """An overlay for each strategy: one in training, one at inference."""
    names = [name for name in (wildcards.trained, wildcards.get("decoded", "baseline")) if name != "baseline"]
    own = [full(name) for name in names if name in overlay_names("paper")]  # at full size, after that of the stage
    return ["clap_prefix", *(f"strategy/{name}" for name in names), full("clap_prefix"), *own]


def wsac_options(split, tested="{corpus}"):
    return (
        f"--seed_everything {{seed}} --data.train {{corpus}}/train{TABLE} --data.val {{corpus}}/val{TABLE}"
        f" --data.test {tested}/{split} --export.source exports/{DECODER}"
    )


def shifted_first(wildcards):
    """The first of the fits with the shift embeds its corpus; those that read it too wait, and find it in the cache."""
    first = DECODER.format(corpus=CORPORA[0], trained="embedding_shift", seed=SEEDS[0])
    is_first = first == DECODER.format(**dict(wildcards.items()))
    waits = wildcards.trained in ("embedding_shift", "comet") and not is_first
    return [export(first)] if waits else []


fit("wsac_fit", DECODER, strategies, wsac_options("test"), files=[shifted_first])
test("wsac_test", DECODER, strategies, wsac_options("test"), [DECODER])
for split, run in {"test": DECODER, "val": f"{DECODER}_val"}.items():
    name, folder = f"wsac_{split}_by_strategy", f"{run}_{{decoded}}"
    test(name, run, strategies, wsac_options(split), [DECODER], folder)

WSAC_ROWS = {
    "baseline": "baseline_{seed}",
    "NI, estimated": "noise_injection_{seed}",
    "NI, paper's variance": "noise_injection_paper_{seed}",
    "ES": "embedding_shift_{seed}",
    "NND": "baseline_{seed}_nearest_neighbour",
    "PD": "baseline_{seed}_projection",
}
BOUNDS = {"supervised": "supervised_{seed}", "own text": "baseline_{seed}_reference"}
if PAPER:
    del WSAC_ROWS["NI, estimated"], BOUNDS["supervised"]


def of_corpus(runs, wildcards):
    return {name: f"wsac_{wildcards.corpus}{SIZE}_{run}" for name, run in runs.items()}


def pairs_on_val(wildcards):
    """Each pair of a training and an inference strategy, by the first seed."""
    return of_corpus({f"{t}, {d}": f"{t}_{SEEDS[0]}_val_{d}" for t, d in BOTH}, wildcards)


def table_rows(wildcards):
    """The table's rows; the pair of strategies that is best on val is known once `wsac_best` has run."""
    if PAPER:
        return of_corpus(WSAC_ROWS | BOUNDS, wildcards)
    best = Path(checkpoints.wsac_best.get(corpus=wildcards.corpus).output[0]).read_text().strip()
    trained, decoded = best.split(", ")
    return of_corpus(WSAC_ROWS | {f"best on val: {best}": f"{trained}_{{seed}}_{decoded}"} | BOUNDS, wildcards)


checkpoint wsac_best:
    input:
        lambda wildcards: tested(*pairs_on_val(wildcards).values()),
    output:
        "runs/wsac_{corpus}_best_on_val.txt",
    params:
        rows=lambda wildcards: rows(pairs_on_val(wildcards)),
    log:
        "runs/logs/wsac_{corpus}_best_on_val.report.log",
    shell:
        f"{PYTHON} -m reports best --metric cider_d {{params.rows}} --output {{output}}"


rule wsac_table:
    input:
        lambda wildcards: tested(*of_corpus(WSAC_ROWS | BOUNDS, wildcards).values()),  # known before the best pair is
        lambda wildcards: tested(*table_rows(wildcards).values()),
    output:
        f"{RESULTS}/wsac_{{corpus}}{SIZE}.md",
        touch(MARKS.format(f"wsac_{{corpus}}{SIZE}")),
    params:
        rows=lambda wildcards: rows(table_rows(wildcards)),
    log:
        f"runs/logs/wsac_{{corpus}}{SIZE}.report.log",
    shell:
        f"{PYTHON} -m reports compare {{params.rows}} --against baseline --published wsac {{wildcards.corpus}} {WORDS} --title 'WSAC on {{wildcards.corpus}}/test' --output {{output[0]}}"


experiment(
    "wsac",
    expand([f"{RESULTS}/wsac_{{corpus}}{SIZE}.md", MARKS.format(f"wsac_{{corpus}}{SIZE}")], corpus=CORPORA),
    reads=[
        *packed("audiocaps/test", "clotho/test", "wavcaps/train"),
        *expand(f"{DATA}/{{corpus}}/{{part}}{TABLE}", corpus=CORPORA, part=["train", "val"]),
        "checkpoints/WavCaps-CNN14.pt",
    ],
)
