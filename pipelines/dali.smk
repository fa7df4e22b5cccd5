# DALI's chain, for each seed and criterion:
#   filter, prefix -> alignment -> pseudo-captions -> distillation -> tests on audiocaps and clotho -> one table
# make dali [SEEDS=3] [QUICK=1] [SIZE=paper]: Tables 1, 3, 5 and 6; and one figure or table each:
# make dali-pairs (Figure 5), dali-bias (Table 2), dali-examples (Table 4). At full size, make dali makes these too.
CHAIN = "dali"
DALI_CRITERIA = ["attentive_ot"] if config.get("quick") else ["mmd", "ot", "attentive_ot", "contrastive"]
PAIRS = str(config.get("pairs", "1 4 16 64")).split()
PREFIX = "llava_prefix{size}_seed{seed}"
ALIGNED = "dali_{criterion}{size}_seed{seed}"
PSEUDO = "pseudo_captions_{criterion}{size}_seed{seed}"
DISTILLED = "distillation_{criterion}{size}_seed{seed}"

PREFIX_CONFIGS = ["llava_prefix", full("llava_prefix_tuning")]
DISTILLATION_CONFIGS = ["distillation", full("audiovisual_distillation")]
USE_PREFIX = f"--model.captioner.prefix exports/{PREFIX}"
ENCODER = "--model.captioner.audio_encoder.init_args.pretrained_model_name_or_path"
TEACHER = f"{USE_PREFIX} {ENCODER} exports/{ALIGNED}"


def align_configs(wildcards):
    """A run is called as its overlay in configs/criterion/, or ot_ and its overlay in configs/solver/. At full size
    attentive OT has an overlay of its own, after the one that names it."""
    name = wildcards.criterion
    overlay = SOLVERS.get(name, "" if name == "ot" else f"criterion/{name}")
    own = full("attentive_ot") if wildcards.criterion == "attentive_ot" else ""
    return ["dali_ot", overlay, full("token_alignment"), own]


SOLVERS = {f"ot_{name}": f"solver/{name}" for name in overlay_names("solver")}


wildcard_constraints:
    corpus="audiocaps|clotho",
    criterion="|".join(["ot", *overlay_names("criterion"), *SOLVERS]),
    pairs=r"\d+",


# the filter of AudioSet (section 4 and appendix C), at full size: alignment trains on the clips nearest to their labels.
# IDS=list.csv is a list from elsewhere, such as the authors'; KEEP=500000 is how many clips this graph's own has.
FILTER = "audioset_filter_paper"
NEAREST = f"exports/{FILTER}/nearest.csv"
IDS = config.get("ids", NEAREST if PAPER else "")
KEEP = str(config.get("keep", 500_000))
if not KEEP.isdecimal():
    raise WorkflowError(f"expected KEEP as a number of clips, found {KEEP}; correct it")
if IDS == NEAREST:
    predict("filter", FILTER, ["audioset_filter", full("audioset_filter")], table="distances.csv", gpus=4)
    keep = f"--distances exports/{FILTER}/distances.csv --keep {KEEP} --output {NEAREST}"
    step("nearest", f"{FILTER}.nearest", f"{PYTHON} -m datamodules.prepare nearest {keep}", NEAREST, [export(FILTER)])

fit("prefix", PREFIX, PREFIX_CONFIGS, "--seed_everything {seed}")
align_options = "--seed_everything {seed}" + (f" --data.ids {IDS}" if IDS else "")
align_options += "" if PAPER else " --data.num_workers 0"
fit("align", ALIGNED, align_configs, align_options, gpus=4, files=[IDS] if IDS else [])
predict(
    "pseudo_captions",
    PSEUDO,
    ["pseudo_captions", full("pseudo_captions")],
    f"--export.source exports/{ALIGNED} {TEACHER}",
    [PREFIX, ALIGNED],
    gpus=4,
)
fit(
    "distil",
    DISTILLED,
    DISTILLATION_CONFIGS,
    f"{TEACHER} --seed_everything {{seed}} --data.captions exports/{PSEUDO}/captions.csv",
    [PREFIX, ALIGNED, PSEUDO],
    gpus=4,
)

test("test_image", "audiocaps_image{size}_seed{seed}", PREFIX_CONFIGS, f"--export.source exports/{PREFIX}", [PREFIX])
for suffix, inputs in {"": "audio", "_image": "audio+image"}.items():
    options = f"--model.captioner.inputs {inputs} --data.test {{corpus}}/test"
    test(
        f"test_aligned{suffix}",
        f"{{corpus}}_{{criterion}}{suffix}{{size}}_seed{{seed}}",
        align_configs,
        f"{options} {USE_PREFIX} --export.source exports/{ALIGNED}",
        [PREFIX, ALIGNED],
    )
    test(
        f"test_distilled{suffix}",
        f"{{corpus}}_{{criterion}}{suffix}_distilled{{size}}_seed{{seed}}",
        DISTILLATION_CONFIGS,
        f"{options} {TEACHER} --export.source exports/{DISTILLED}",
        [PREFIX, ALIGNED, DISTILLED],
    )
for prompt in ("without_prefix", "written_prompt"):  # the images' captions without soft tokens, which no training changes
    overlays = ["inputs/image", full("token_alignment"), f"prompt/{prompt.removesuffix('_prompt')}"]
    overlays += [full(prompt)] if prompt == "written_prompt" else []
    test(f"test_{prompt}", f"audiocaps_image_{prompt}{SIZE}", ["dali_ot", *overlays], "--export.load false")

# the tables' rows, in order; a row of several seeds averages them
BY_CRITERION = DALI_CRITERIA + [f"{criterion}_distilled" for criterion in DALI_CRITERIA]
ROWS = {"audiocaps": ["image", "attentive_ot_image", "attentive_ot_image_distilled", *BY_CRITERION], "clotho": BY_CRITERION}
UNTRAINED = {name: f"audiocaps_{name}{SIZE}" for name in ("image_without_prefix", "image_written_prompt")}
CORPUS_TABLES = []
for corpus, names in ROWS.items():
    runs = {name: f"{corpus}_{name}{SIZE}_seed{{seed}}" for name in names}
    runs |= UNTRAINED if corpus == "audiocaps" else {}
    CORPUS_TABLES += summarize(
        f"dali_{corpus}",
        f"DALI on {corpus}/test",
        f"compare {rows(runs)} --against attentive_ot --constant-from {DATA}/{corpus}/val{TABLE} {WORDS}",
        f"dali_{corpus}{SIZE}.md",
        val_split(corpus) + tested(*runs.values()),
    )
DALI_TABLE = summarize(
    "dali_table",
    "DALI beside the paper's numbers",
    f"paper --audiocaps {RESULTS}/dali_audiocaps{SIZE}.csv --clotho {RESULTS}/dali_clotho{SIZE}.csv",
    f"dali{SIZE}.md",
    CORPUS_TABLES,
)

# Figure 5: how many pairs the prefix needs, for captions of audio before distillation
FROM_SOUND = ALIGNED.replace("{criterion}", "attentive_ot")
SOME_PAIRS = "llava_prefix_{pairs}_pairs{size}_seed{seed}"
fit("pairs_fit", SOME_PAIRS, PREFIX_CONFIGS, "--seed_everything {seed} --data.num_pairs {pairs}", threads=all_cores)
test(
    "pairs_test",
    "audiocaps_attentive_ot_{pairs}_pairs{size}_seed{seed}",
    ["dali_ot", "criterion/attentive_ot", full("token_alignment"), full("attentive_ot")],
    f"--model.captioner.prefix exports/{SOME_PAIRS} --export.source exports/{FROM_SOUND}",
    [SOME_PAIRS, FROM_SOUND],
    threads=all_cores,
)
OF_PAIRS = {number: "" if number == "16" else f"_{number}_pairs" for number in PAIRS}  # 16 are the chain's own
PAIRS_ROWS = {number: f"audiocaps_attentive_ot{name}{SIZE}_seed{{seed}}" for number, name in OF_PAIRS.items()}
PAIRS_PLOT = summarize(
    "num_pairs",
    "Captions of audio by the number of pairs (DALI, Figure 5)",
    f"plot {rows(PAIRS_ROWS)} --label 'pairs of image and caption' {WORDS} --note 'The paper prints no numbers here. It"
    " finds 16 pairs enough: with more, SPIDEr, CIDEr and ROUGE-L stay, SPICE, METEOR and BLEU fall slightly.'",
    f"num_pairs{SIZE}.png",
    tested(*PAIRS_ROWS.values()),
)

# Table 2: asked what it sees, what does the captioner see in audio?
SEEN_BY = f"dali_{{criterion}}{SIZE}_seed42"
test(
    "test_visual_bias",
    "visual_bias_{criterion}{size}",
    lambda wildcards: [*align_configs(wildcards), "prompt/visual_bias"],
    f"--export.source exports/{SEEN_BY}",
    [SEEN_BY],
    threads=all_cores,
)
# and Table 4: captions of the same clips by each criterion, not distilled
SIDE_BY_SIDE = {}
for name, table, title, run, words in (
    ("visual_bias", 2, "Asked what it sees in audio (DALI, Table 2)", "visual_bias_{}{}", WORDS),
    ("examples", 4, "Captions of the same clips by each criterion (DALI, Table 4)", "audiocaps_{}{}_seed42", ""),
):
    words += f" --published {table}" if PAPER else ""
    runs = {criterion: run.format(criterion, SIZE) for criterion in DALI_CRITERIA}
    marks = tested(*runs.values())
    SIDE_BY_SIDE[name] = summarize(name, title, f"examples {rows(runs)} {words}", f"{name}{SIZE}.md", marks)

SPLITS = ["audioset/train", "audioset/val", "audioset/balanced", "audiocaps/train", "audiocaps/test", "clotho/test"]
READ = [*packed(*SPLITS), f"{DATA}/audiocaps/val.csv", f"{DATA}/clotho/val.csv", "checkpoints/audio_model.21.pth"]
experiment("dali", DALI_TABLE, *([PAIRS_PLOT, *SIDE_BY_SIDE.values()] if PAPER else []), reads=READ)
experiment("dali_pairs", PAIRS_PLOT)
experiment("dali_bias", SIDE_BY_SIDE["visual_bias"])
experiment("dali_examples", SIDE_BY_SIDE["examples"])
