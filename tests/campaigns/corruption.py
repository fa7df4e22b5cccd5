"""Damage a packed split in every region of its bytes, read it, and note what was said.

    python -m tests.campaigns.corruption --mutations 200 --seed 0 --output docs/results/corruption.md

A damaged split must either give every sample as it was packed, or be named in one line. Anything else is silent
damage, a hang or a traceback, and ends the command with exit code 1.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

from datamodules.sample_json import AGAIN
from datamodules.shards import read_index, read_samples, records, sample_ids
from earshot.atomic import write_text
from earshot.errors import InputError
from earshot.provenance import provenance
from tests.campaigns.damages import Case, cases, make_split
from tests.campaigns.time_limit import Hangs, at_most

SECONDS = 20  # after which reading hangs


def content(folder: Path) -> list[Any]:
    """All that a split says: of each sample its key, its JSON and its media; then the ids beside the tars."""
    found: list[Any] = []
    list(records(read_index(folder)))  # media are passed over, which must end, too
    for shard in read_index(folder):
        for sample in read_samples(shard, 0, shard.num_samples, lambda record: list(record["crc32"])):
            found.append((sample.key, sample.record, sample.media))
    found.sort(key=lambda sample: sample[0])  # of any order of the tars
    return [*found, *sorted(sample_ids(shard) for shard in read_index(folder))]


def outcome(folder: Path, before: list[Any]) -> tuple[str, str]:
    """ "named", "unharmed", "silent", "hangs" or "traceback", and what was said."""
    try:
        with at_most(SECONDS):
            return ("unharmed" if content(folder) == before else "silent"), ""
    except InputError as error:
        said = str(error).replace(f"{folder}/", "")
        return ("named" if len(said.splitlines()) == 1 else "traceback"), said
    except Hangs:
        return "hangs", ""
    except Exception as error:  # whatever reading does not expect
        return "traceback", repr(error)


def campaign(mutations: int, seed: int) -> list[tuple[Case, str, str]]:
    """At least one damage of each kind, the kinds of one bit again until there are `mutations`."""
    kinds = cases()
    again = [kind for kind in kinds if "bit" in kind.what or kind.what == "cut"]
    chosen = [*kinds, *(again[number % len(again)] for number in range(mutations - len(kinds)))]
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary, "whole")
        make_split(whole)
        before = content(whole)
        for number, case in enumerate(chosen):
            folder = Path(temporary, f"damaged-{number}")
            shutil.copytree(whole, folder)
            case.damage(folder, random.Random(f"{seed} {number}"))
            found.append((case, *outcome(folder, before)))
            shutil.rmtree(folder)
    return found


def wrong(found: list[tuple[Case, str, str]]) -> list[tuple[Case, str, str]]:
    """Those that did not come out as they must."""
    return [one for one in found if one[1] not in ("named", "unharmed") or one[0].must not in (None, one[1])]


def table(found: list[tuple[Case, str, str]], seed: int) -> str:
    """The page of the results."""
    regions = dict.fromkeys(case.region for case, _, _ in found)
    outcomes = ("named", "unharmed", "silent", "hangs", "traceback")
    lines = [
        "# Damaged shards", "",
        f"{len(found)} copies of a small packed split, each damaged in one place and read. Named: reading ended with "
        "one line that names the file. Unharmed: every sample was read as it was packed.", "",
        f"| where | {' | '.join(outcomes)} |", f"|---|{'---|' * len(outcomes)}",
    ]  # fmt: skip
    for region in regions:
        counts = Counter(how for case, how, _ in found if case.region == region)
        lines.append(f"| {region} | {' | '.join(str(counts[how]) for how in outcomes)} |")
    lines += ["", "## What was said", "", "| where | damage | times | outcome | such as |", "|---|---|---|---|---|"]
    kinds = {(case.region, case.what, how): said for case, how, said in found}
    times = Counter((case.region, case.what, how) for case, how, _ in found)
    for (region, what, how), said in kinds.items():
        shown = said.replace("|", "&#124;").replace("<", "&lt;").replace(f"; {AGAIN}", "; ...")
        lines.append(f"| {region} | {what} | {times[region, what, how]} | {how} | {shown} |")
    origin = provenance()
    command = f"python -m tests.campaigns.corruption --mutations {len(found)} --seed {seed}"
    lines += [
        "", "## How this was measured", "",
        "- three tars of five clips, sound and two images each; all media of all clips are read, and the ids beside "
        "the tars", f"- a read longer than {SECONDS} s counts as a hang; seed {seed}", f"- command: `{command}`",
        "- versions: " + ", ".join(f"{name} {value}" for name, value in origin.items() if name != "command"),
        f"- date: {date.today()}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Run the campaign and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    found = campaign(options.mutations, options.seed)
    bad = wrong(found)
    for case, how, said in bad:
        print(f"{case.region}, {case.what}: {how} {said}", file=sys.stderr)
    print(f"{len(found)} damages, {len(bad)} not as they must")
    if options.output is not None:
        write_text(options.output, table(found, options.seed))
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
