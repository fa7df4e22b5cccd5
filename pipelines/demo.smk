# make demo: train the alignment by optimal transport, caption audio, print a table. The fit and the table run with
# all cores each; of the tests as many run at a time as there are cores.
CHAIN = "demo"
DEMO = {
    "dali_ot": ("audio", []),
    "image": ("image", ["inputs/image"]),
    "dali_ot_audio_image": ("audio and image", ["inputs/audio_image"]),
    "pretrained": ("audio, encoder before alignment", ["baseline/pretrained"]),
}

fit("demo_fit", "dali_ot", ["dali_ot"], threads=all_cores)
for run, (_, overlay) in DEMO.items():
    trained = "dali_ot" if run.startswith("dali_ot") else None
    test(f"demo_{run}", trained or run, ["dali_ot", *overlay], "", [trained] if trained else [], run)
DEMO_TABLE = summarize(
    "demo_table",
    "Alignment by optimal transport: captions from audio, image and both",
    f"compare {rows({name: run for run, (name, _) in DEMO.items()})} --against audio --shuffle audio"
    f" --constant-from {DATA}/audiocaps/val {WORDS} --html",
    "demo.md",
    val_split("audiocaps") + tested(*DEMO),
    threads=all_cores,
)
experiment("demo", DEMO_TABLE)
