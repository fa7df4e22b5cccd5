"""What the graph of an experiment would run, by Snakemake's dry run."""

import subprocess
import sys
from pathlib import Path

from conftest import REPOSITORY


def dry_run(folder: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """The jobs of a dry run in a folder without results: by log, what is read, what is made and the command."""
    for name in ("configs", "assets"):
        if not (folder / name).exists():
            (folder / name).symlink_to(REPOSITORY / name)
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "pipelines" / "Snakefile")]
    done = subprocess.run(
        [*snakemake, *arguments, "--dry-run", "--cores", "2"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    jobs, fields = {}, {}
    for line in (done.stdout + done.stderr).splitlines():
        key, _, value = line.strip().partition(": ")
        if line.startswith(("rule ", "checkpoint ")):
            fields = {}
        elif line.startswith("    ") or key == "Shell command":
            fields[key] = value
        if key == "Shell command" and "log" in fields:
            jobs[fields["log"].removeprefix("runs/logs/").removesuffix(".log")] = dict(fields)
    return jobs


def command_of(job: dict[str, str]) -> str:
    return job["Shell command"].partition("train.py ")[2]


def before(jobs: dict[str, dict[str, str]], name: str) -> set[str]:
    """All jobs that must be finished before this one begins."""
    maker = {path: log for log, job in jobs.items() for path in job["output"].split(", ")}
    direct = {maker[path] for path in jobs[name].get("input", "").split(", ") if path in maker}
    return direct | {earlier for log in direct for earlier in before(jobs, log)}
