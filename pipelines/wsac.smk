# make wsac [SEEDS=3]: WSAC's Table 1 on audiocaps and on clotho: baseline, training strategies, inference strategies,
# the best pair of both as the first seed chooses it on val, and the supervised bound.
CORPORA = ["audiocaps", "clotho"]
DECODER = "wsac_{corpus}_{trained}_{seed}"
TRAINED = ["baseline", "noise_injection", "noise_injection_paper", "embedding_shift", "supervised"]
DECODED = ["nearest_neighbour", "projection", "reference"]
BOTH = [(t, d) for t in TRAINED[1:4] for d in DECODED[:2]]


wildcard_constraints:
    trained="|".join(TRAINED),
    decoded="|".join(DECODED),
    on_val="(_val)?",


def strategies(wildcards):
    """An overlay for each strategy: one in training, one at inference."""
    names = [wildcards.trained, wildcards.get("decoded", "baseline")]
    return ["clap_prefix", *(f"strategy/{name}" for name in names if name != "baseline")]


def wsac_options(split):
    return (
        f"--seed_everything {{seed}} --data.train {{corpus}}/train --data.val {{corpus}}/val"
        f" --data.test {{corpus}}/{split} --export.source exports/{DECODER}"
    )


READ = ["wavcaps/train", *(f"{corpus}/{part}" for corpus in CORPORA for part in ("train", "val", "test"))]
fit("wsac_fit", DECODER, strategies, wsac_options("test"), splits(*READ))
test("wsac_test", DECODER, strategies, wsac_options("test"), [export(DECODER)])
for split, run in {"test": DECODER, "val": f"{DECODER}_val"}.items():
    test(
        f"wsac_{split}_by_strategy",
        run,
        strategies,
        wsac_options(split),
        [export(DECODER)],
        folder=f"{run}_{{decoded}}",
    )

WSAC_ROWS = {
    "baseline": "wsac_{corpus}_baseline_{seed}",
    "NI, estimated": "wsac_{corpus}_noise_injection_{seed}",
    "NI, paper's variance": "wsac_{corpus}_noise_injection_paper_{seed}",
    "ES": "wsac_{corpus}_embedding_shift_{seed}",
    "NND": "wsac_{corpus}_baseline_{seed}_nearest_neighbour",
    "PD": "wsac_{corpus}_baseline_{seed}_projection",
}
BOUNDS = {
    "supervised": "wsac_{corpus}_supervised_{seed}",
    "own text": "wsac_{corpus}_baseline_{seed}_reference",
}


def marks_of(rows):
    return lambda wildcards: [mark for run in rows.values() for mark in tested(run, corpus=wildcards.corpus)]


def best_row(wildcards):
    """The row of the pair of strategies that is best on val; it is known once `wsac_best` has run."""
    best = Path(checkpoints.wsac_best.get(corpus=wildcards.corpus).output[0]).read_text().strip()
    trained, decoded = best.split(", ")
    return {f"best on val: {best}": f"wsac_{{corpus}}_{trained}_{{seed}}_{decoded}"}


checkpoint wsac_best:
    input:
        lambda wildcards: [f"runs/wsac_{wildcards.corpus}_{t}_{SEEDS[0]}_val_{d}/tested" for t, d in BOTH],
    output:
        "runs/wsac_{corpus}_best_on_val.txt",
    params:
        rows=lambda wildcards: " ".join(
            f'"{t}, {d}=runs/wsac_{wildcards.corpus}_{t}_{SEEDS[0]}_val_{d}"' for t, d in BOTH
        ),
    log:
        "runs/logs/wsac_{corpus}_best_on_val.report.log",
    shell:
        f"{PYTHON} -m reports best --metric cider_d {{params.rows}} --output {{output}}"


rule wsac_table:
    input:
        marks_of(WSAC_ROWS | BOUNDS),
        lambda wildcards: marks_of(best_row(wildcards))(wildcards),
    output:
        RESULTS + "/wsac_{corpus}.md",
        touch(MARKS.format("wsac_{corpus}")),
    params:
        rows=lambda wildcards: " ".join(
            row(name, run, corpus=wildcards.corpus)
            for name, run in (WSAC_ROWS | best_row(wildcards) | BOUNDS).items()
        ),
    log:
        "runs/logs/wsac_{corpus}.report.log",
    shell:
        f"{PYTHON} -m reports compare {{params.rows}} --against baseline {WORDS} --output {{output[0]}}"


rule wsac:
    input:
        expand([RESULTS + "/wsac_{corpus}.md", MARKS.format("wsac_{corpus}")], corpus=CORPORA),
