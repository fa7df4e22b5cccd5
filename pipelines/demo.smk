# make demo: train the alignment by optimal transport, caption sounds, print a table. The jobs run one after another
# with all cores each.
DEMO = {
    "dali_ot": ("sound", []),
    "image": ("picture", ["inputs/image"]),
    "dali_ot_audio_image": ("sound and picture", ["inputs/audio_image"]),
    "pretrained": ("sound, not aligned", ["baseline/pretrained"]),
}

fit("demo_fit", "dali_ot", ["dali_ot"], after=splits("audioset/train", "audioset/val"), threads=all_cores)
for run, (_, overlay) in DEMO.items():
    needs = [export("dali_ot")] if run.startswith("dali_ot") else []
    test(f"demo_{run}", run, ["dali_ot", *overlay], after=splits("audiocaps/test") + needs, threads=all_cores)
DEMO_TABLE = summarize(
    "demo_table",
    f"compare {' '.join(row(name, run) for run, (name, _) in DEMO.items())} --against sound --shuffle sound"
    f" --constant-from {DATA}/audiocaps/val {WORDS}",
    f"{RESULTS}/demo.md",
    splits("audiocaps/val") + [mark for run in DEMO for mark in tested(run)],
    threads=all_cores,
)


rule demo:
    input:
        DEMO_TABLE,
