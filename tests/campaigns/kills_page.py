"""The page of the kill campaign."""

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.campaigns.kills import Run

PHASES = {  # as the callback tells them: what a reader calls them
    "start": "start",
    "setup": "setup",
    "epoch_start": "step",
    "step": "step",
    "after_step": "step",
    "validation": "validation",
    "after_validation": "validation",
    "epoch_end": "end of an epoch",
    "checkpoint": "checkpoint",
    "export": "export",
    "predict": "predict",
    "predict_rows": "predict",
    "predict_table": "table of predict",
}
COLUMNS = list(dict.fromkeys(PHASES.values()))


def page(runs: list["Run"], seed: int, made_by: dict[str, Any]) -> str:
    """Markdown: how many kills, by stage and phase, by processes, what differed."""
    kills = [kill for run in runs for kill in run.kills]
    counted = Counter((kill.stage, PHASES[kill.phase]) for kill in kills)
    failed = [run for run in runs if run.problems]
    lines = [
        "# Kills",
        "",
        f"{len(kills)} times `kill -9` of the whole process group, in {len(runs)} training runs and predictions on the "
        f"miniature's clips, each then resumed to its end. {len(failed)} ended otherwise than an unbroken one.",
        "",
        "Compared are, bit by bit where the number of processes stays the same: weights, optimizer, learning rates and "
        "counts in `last.ckpt` and `best.ckpt`, the rows of `metrics.csv`, the files of the export, the table of "
        "`predict`, and the clips of every batch, each position once. Where the number changes, the weights may differ "
        "by 1e-5 and the clips are those of each optimizer step. After each kill, too, no checkpoint, export or table "
        "may stand half under its name. Fits have 12 to 15 optimizer steps, and W&B is off. CLAP prefix and DRCap have "
        "Adam's eps at 1e-3: with its default, gradients that are rounding errors move weights by more than 1e-5 where "
        "the number changes.",
        "",
        f"| stage | {' | '.join(COLUMNS)} | all |",
        f"|---|{'---|' * len(COLUMNS)}---|",
    ]
    for stage in [*dict.fromkeys(kill.stage for kill in kills), "all"]:
        counts = [sum(n for (s, p), n in counted.items() if p == column and stage in (s, "all")) for column in COLUMNS]
        lines.append(f"| {stage} | {' | '.join(map(str, counts))} | {sum(counts)} |")
    lines += [
        "",
        f"{sum(bool(kill.left) for kill in kills)} kills left an unfinished file or folder on disk, so they came in "
        f"the middle of a write. {sum(kill.cold for kill in kills)} were of commands that started Python anew; the "
        "others were forked from a process that had imported everything.",
        "",
        "| processes | kills | runs | ended otherwise | refused to change their number |",
        "|---|---|---|---|---|",
    ]
    for name in sorted({run.ranks for run in runs}):
        of = [run for run in runs if run.ranks == name]
        counts = [sum(len(run.kills) for run in of), len(of)]
        counts += [sum(bool(run.problems) for run in of), sum(run.refused for run in of)]
        lines.append(f"| {name.replace('-', ', then ')} | {' | '.join(map(str, counts))} |")
    lines += ["", "## Differences", ""]
    for run in failed:
        more = f" (and {len(run.problems) - 1} more)" if len(run.problems) > 1 else ""
        processes = run.ranks.replace("-", ", then ")
        lines.append(f"- {run.command} of {run.stage}, processes {processes}, at {run.commit}: {run.problems[0]}{more}")
    lines += [] if failed else ["None."]
    commits = ", ".join(dict.fromkeys(run.commit for run in runs))
    hours = sum(run.seconds for run in runs) / 3600
    versions = ", ".join(f"{name} {value}" for name, value in made_by.items() if name not in ("commit", "command"))
    lines += ["", f"`{made_by.get('command')}`: seed {seed}, {hours:.1f} hours, commits {commits}; {versions}.", ""]
    return "\n".join(lines)
