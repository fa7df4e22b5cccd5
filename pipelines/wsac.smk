# make wsac [SEEDS=3]: WSAC's Table 1 on audiocaps and on clotho: baseline, training strategies, inference strategies,
# the best pair of both as the first seed chooses it on val, and the supervised bound.
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


CORPORA = splits("wavcaps/train", *(f"{corpus}/{part}" for corpus in ROWS for part in ("train", "val", "test")))
fit("wsac_fit", DECODER, strategies, wsac_options("test"), CORPORA)
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
    "baseline": "baseline_{seed}",
    "NI, estimated": "noise_injection_{seed}",
    "NI, paper's variance": "noise_injection_paper_{seed}",
    "ES": "embedding_shift_{seed}",
    "NND": "baseline_{seed}_nearest_neighbour",
    "PD": "baseline_{seed}_projection",
    "supervised": "supervised_{seed}",
    "own text": "baseline_{seed}_reference",
}


def wsac_rows(wildcards):
    """The table's rows; the best pair's stands before the supervised bound."""
    best = Path(checkpoints.wsac_best.get(corpus=wildcards.corpus).output[0]).read_text().strip()
    rows = {}
    for name, run in WSAC_ROWS.items():
        if name == "supervised":
            rows[f"best on val: {best}"] = "{}_{{seed}}_{}".format(*best.split(", "))
        rows[name] = run
    return {name: f"wsac_{wildcards.corpus}_{run}" for name, run in rows.items()}


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
        lambda wildcards: [mark for run in wsac_rows(wildcards).values() for mark in tested(run)],
    output:
        RESULTS + "/wsac_{corpus}.md",
        touch(MARKS.format("wsac_{corpus}")),
    params:
        rows=lambda wildcards: " ".join(row(name, run) for name, run in wsac_rows(wildcards).items()),
    log:
        "runs/logs/wsac_{corpus}.report.log",
    shell:
        f"{PYTHON} -m reports compare {{params.rows}} --against baseline {WORDS} --output {{output[0]}}"


rule wsac:
    input:
        expand(MARKS.format("wsac_{corpus}"), corpus=ROWS),
