"""The full-size graphs whole, each by its command, on small stand-ins of every file in its authors' name and layout."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from full_size_stand_ins import write_all

from evaluation import java_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
ARGS = "--trainer.accelerator cpu --trainer.max_steps 2 --data.global_batch_size 2"
JAVA = shutil.which("java") and not java_files.missing(java_files.WHEEL_FILES | java_files.SPICE_FILES)
OF_JAVA = ("METEOR", "SPICE", "SPIDEr")
DALI = ["BLEU-4", "METEOR", "ROUGE-L", "CIDEr-D", "SPICE", "SPIDEr"]  # of its Tables 1, 3, 5 and 6
THEIRS = [f"{name}, paper" for name in ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "SPICE", "SPIDEr")]
CRITERIA = ["attentive OT", "MMD", "OT", "contrastive"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a clone is, with the stand-ins and without results."""
    folder = tmp_path_factory.mktemp("project")
    made = ("data", "runs", "exports", "checkpoints", "hub")
    for path in REPOSITORY.iterdir():
        if path.name not in made and not path.name.startswith("."):
            (folder / path.name).symlink_to(path)
    write_all(folder)
    return folder


def make(folder: Path, *words: str) -> None:
    """Run `make` there to the end, with two steps of each training."""
    command = ["make", *words, "SIZE=paper", f"BIN={Path(sys.executable).parent}", f"ARGS={ARGS}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    environment |= {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]


def table(path: Path) -> list[dict[str, str]]:
    """The first table of a page, by its headings; it begins with a title, and its CSV and section lie behind."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    header, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    assert path.with_suffix(".csv").is_file() and "## How this was measured" in path.read_text()
    return [dict(zip(header, row, strict=True)) for row in rows]


def measured(names: list[str]) -> list[str]:
    """Without those that only Java gives, where there is none."""
    return [name for name in names if JAVA or name not in OF_JAVA]


def assert_complete(rows: list[dict[str, str]], names: list[str], columns: list[str]) -> None:
    """These rows, with a score in each of these columns."""
    found = {next(iter(row.values())): row for row in rows}
    assert [name for name in names if name not in found] == []
    for name in names:
        assert [found[name].get(column, "") for column in columns if "[" not in found[name].get(column, "")] == [], name


def test_zeraucap(project: Path) -> None:
    make(project, "zeraucap")
    for corpus, spider in (("audiocaps", "0.183"), ("clotho", "0.097")):
        rows = table(project / f"runs/zeraucap_{corpus}_paper.md")
        assert_complete(rows, ["ZerAuCap"], measured(DALI))
        assert rows[0]["SPIDEr, paper"] == spider and len(rows) == 1


def test_audibility_guidance(project: Path) -> None:
    """Table 2: fourteen values of lambda_2; then three of them by the authors' protocol, under other names."""
    make(project, "audibility")
    rows = table(project / "runs/audibility_paper.md")
    values = ["0", "0.015", "0.03", "0.06", "0.09", "0.12", "0.15", "0.2", "0.25", "0.3", "0.35", "0.4", "0.45", "0.5"]
    assert_complete(rows, [*values, "ZerAuCap"], measured(["BLEU-1", "METEOR", "ROUGE-L", "CIDEr-D"]))
    assert [row["A, paper"] for row in rows][:3] == ["0.609", "0.628", "0.698"] and all(row["A"] != "-" for row in rows)
    assert (project / "runs/audibility_paper.png").is_file()

    make(project, "audibility", "PROTOCOL=authors", "LAMBDAS=0 0.015")
    assert_complete(table(project / "runs/audibility_authors_paper.md"), ["0", "0.015", "ZerAuCap"], ["CIDEr-D"])
    (ours,) = project.glob("runs/guided_paper_seed42_0.015/test-1/captions.csv")
    (theirs,) = project.glob("runs/guided_authors_paper_seed42_0.015/test-1/captions.csv")
    with open(ours) as first, open(theirs) as second:
        plain, kept = list(csv.DictReader(first)), list(csv.DictReader(second))
    assert all(row["caption"].startswith("Audio of a") for row in kept)
    assert not any(row["caption"].startswith("Audio of a") for row in plain)
    assert all(one["references"] != all_of_them["references"] for one, all_of_them in zip(kept, plain))


def test_wsac(project: Path) -> None:
    """Table 1 on both corpora: baseline and four strategies, and the supervised methods that it compares with."""
    make(project, "wsac")
    for corpus in ("audiocaps", "clotho"):
        rows = table(project / f"runs/wsac_{corpus}_paper.md")
        strategies = ["baseline", "NI, paper's variance", "ES", "NND", "PD", "own text"]
        assert_complete(rows, strategies, measured(DALI))
        assert len([row for row in rows if row["row"].endswith("supervised")]) == 6
        config = (project / f"runs/wsac_{corpus}_paper_baseline_42/fit-1/config.yaml").read_text()
        assert f"train: {corpus}/train.csv" in config


def test_dali(project: Path) -> None:
    """Tables 1, 3, 5 and 6 on one page, Tables 2 and 4, and Figure 5."""
    make(project, "dali", "KEEP=6")
    with open(project / "exports/audioset_filter_paper/distances.csv") as file:
        distances = {row["clip_id"]: float(row["distance"]) for row in csv.DictReader(file)}
    with open(project / "exports/audioset_filter_paper/nearest.csv") as file:
        nearest = [row["clip_id"] for row in csv.DictReader(file)]
    assert len(distances) == 8 and set(nearest) == set(sorted(distances, key=distances.__getitem__)[:6])
    log = (project / "runs/logs/dali_ot_paper_seed42.fit.log").read_text()
    assert "exports/audioset_filter_paper/nearest.csv: training on 6 of 8 clips" in log
    rows = table(project / "runs/dali_paper.md")
    assert set(THEIRS) <= rows[0].keys()
    both = [*CRITERIA, *(f"{name}, distilled" for name in CRITERIA)]
    inputs = ["image only, with prefix", "image only, without prefix", "image only, written prompt", "audio + image"]
    for corpus, names in (("audiocaps", [*both, *inputs, "audio + image, distilled"]), ("clotho", both)):
        assert_complete([row for row in rows if row["corpus"] == corpus], names, measured(DALI))
        ours = {row["row"]: row for row in rows if row["corpus"] == corpus}
        spider = {"audiocaps": ("0.1592", "0.183"), "clotho": ("0.0625", "0.097")}[corpus]
        assert ours["attentive OT, distilled"]["SPIDEr, paper"] == spider[0]
        assert ours["ZerAuCap (Salewski et al.)"]["SPIDEr, paper"] == spider[1]
    assert any(row["row"].startswith("audibility guidance") for row in rows)
    for name, number in (("visual_bias", 7), ("examples", 10)):
        shown = table(project / f"runs/{name}_paper.md")
        assert len(shown) == number and {"mmd", "ot", "attentive_ot", "contrastive"} < shown[0].keys()
        assert "attentive_ot, paper" in shown[0]
    assert_complete(table(project / "runs/num_pairs_paper.md"), ["1", "4", "16", "64"], measured(DALI))
    assert (project / "runs/num_pairs_paper.png").is_file()
    assert all("_paper" in path.name for path in project.glob("exports/[!.]*"))
