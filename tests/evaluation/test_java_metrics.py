"""Java metrics: the reasons when they cannot be had, and the real programs where they can."""

import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.clips import CaptionRows
from earshot.errors import InputError
from evaluation import caption_metrics, java_files, java_metrics, spice
from evaluation.caption_metrics import measure
from evaluation.java_metrics import NotComputed
from evaluation.scores import score_rows
from evaluation.tokens import tokenize

RandomCorpus = Callable[[int, int], tuple[list[str], list[list[str]]]]

ALL_FILES = java_files.WHEEL_FILES | java_files.SPICE_FILES
absent = "no Java on the PATH" if shutil.which("java") is None else ""
absent = absent or ("its files are not there (earshot score --fetch)" if java_files.missing(ALL_FILES) else "")
needs_java = pytest.mark.skipif(bool(absent), reason=absent)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder in which every file is there, though empty."""
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path / "cache"))
    for name in ALL_FILES:
        path = java_files.cache_folder() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return java_files.cache_folder()


def fake_program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_no_java_says_so_and_leaves_the_rest(
    path: Path, cache: Path, tmp_path: Path, by_hand: CaptionRows, recorded: dict
) -> None:
    scores = score_rows(by_hand, tmp_path)
    assert scores.tokenizer == "words"
    assert scores.values["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    for name in ("meteor", "spice", "spider"):
        assert scores.values[name] is None
        assert "no Java" in scores.not_computed[name]
        assert "earshot score --fetch" in scores.not_computed[name]


def test_missing_files_name_the_command(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: CaptionRows
) -> None:
    fake_program(path, "java", "exit 0")
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path / "nothing"))
    scores = score_rows(by_hand, tmp_path)
    assert "`earshot score --fetch`" in scores.not_computed["meteor"]
    assert "`earshot score --fetch`" in scores.not_computed["spider"]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Exception in thread main: no heap' >&2; exit 1", "no heap"),
        ("exit 134", "code 134"),
        ("exit 0", "Java failed"),
        ("echo nonsense", "Java failed"),
        ("kill -9 $$", "Java failed"),
    ],
)
def test_failing_java_is_no_crash(
    path: Path, cache: Path, tmp_path: Path, script: str, reason: str, by_hand: CaptionRows, recorded: dict
) -> None:
    fake_program(path, "java", script)
    scores = score_rows(by_hand, tmp_path)
    assert scores.tokenizer == "words"
    assert scores.values["cider_d"] == pytest.approx(recorded["corpus"]["cider_d"])
    for name in ("meteor", "spice", "spider"):
        assert scores.values[name] is None
        assert reason in scores.not_computed[name]
    assert not list(tmp_path.glob("spice-*"))  # its cache folder is gone


def test_spice_without_room_for_its_files_is_not_computed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(files: dict[str, str], command: list[str], timeout: float) -> None:
        Path(command[-1]).write_text('[{"image_id": 0, "sco')

    monkeypatch.setattr(spice, "run_java", cut_off)
    with pytest.raises(NotComputed, match="its files in .* could not be written or read"):
        spice.spice(["a dog barks"], [["a dog"]], tmp_path)


def test_java_that_hangs_is_stopped(path: Path, cache: Path) -> None:
    fake_program(path, "java", "exec /bin/sleep 30")
    with pytest.raises(NotComputed, match="not finished after 0 s"):
        java_metrics.run_java({}, [], timeout=0.2)


def test_spider_is_not_computed_without_spice(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: CaptionRows
) -> None:
    def fail(*args: object) -> np.ndarray:
        raise NotComputed("SPICE is on strike")

    monkeypatch.setattr(caption_metrics, "spice", fail)
    monkeypatch.setattr(java_metrics, "meteor_statistics", lambda captions, _: np.ones((len(captions), 23)))
    measured = measure([by_hand["captions"]], by_hand["references"], tmp_path)
    assert "meteor" in measured.metrics
    assert "spider" not in measured.metrics
    assert measured.not_computed["spider"] == "SPICE is on strike"


def test_fetch_without_maven_says_what_to_do(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="expected java on the PATH, found none; install"):
        java_files.fetch()
    fake_program(path, "java", "exit 0")
    with pytest.raises(InputError, match="expected mvn on the PATH, found none; install"):
        java_files.fetch()


def test_fetch_fills_the_cache_once(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path / "cache"))
    fake_program(path, "java", "exit 0")
    fake_program(path, "mvn", "exit 0")
    ran: list[str] = []

    def pretend(command: list[str], what: str) -> None:
        ran.append(what)
        if what == "pip download":
            assert "--require-hashes" in command
            with zipfile.ZipFile(Path(command[-1]) / "package.whl", "w") as wheel:
                for member in java_files.WHEEL_FILES.values():
                    wheel.writestr(member, "program")
        else:
            options = dict(option.split("=", 1) for option in command if "=" in option)
            group, artifact, version, *rest = options["-Dartifact"].split(":")
            assert group
            folder = Path(options["-DoutputDirectory"])
            folder.mkdir(exist_ok=True)
            (folder / f"{artifact}-{version}{'-models' if rest else ''}.jar").write_text("program")

    monkeypatch.setattr(java_files, "_run", pretend)
    with pytest.raises(InputError, match="expected stanford-corenlp-3.6.0.jar with the SHA-256 d341d5863276f557"):
        java_files.fetch()
    assert java_files.missing(ALL_FILES) == list(java_files.SPICE_MAVEN_FILES)
    digest = hashlib.sha256(b"program").hexdigest()
    monkeypatch.setattr(java_files, "MAVEN_HASHES", dict.fromkeys(java_files.MAVEN_HASHES, digest))
    shutil.rmtree(java_files.cache_folder())
    assert sorted(java_files.fetch()) == sorted(ALL_FILES)
    assert not java_files.missing(ALL_FILES)
    number = len(ran)
    assert java_files.fetch() == []
    assert len(ran) == number
    (java_files.cache_folder() / "spice/lib/fst-2.47.jar").unlink()
    assert java_files.fetch() == ["spice/lib/fst-2.47.jar"]
    assert ran[number:] == ["pip download"]
    assert not list(java_files.cache_folder().glob("fetching-*"))


def test_a_download_that_fails_is_one_line() -> None:
    with pytest.raises(InputError, match=r"expected pip download .* it failed: ERROR: no route"):
        java_files._run(["sh", "-c", "echo 'ERROR: no route' >&2; exit 1"], "pip download")


PIP_OFFLINE = """WARNING: Retrying (Retry(total=0)) after connection broken by 'ProxyError('Cannot connect to proxy.')'
ERROR: Could not find a version that satisfies the requirement pycocoevalcap==1.2 (from versions: none)"""
MAVEN_OFFLINE = """[INFO] Scanning for projects...
[ERROR] No plugin found for prefix 'dependency' in the current project -> [Help 1]"""


@pytest.mark.parametrize("output", [PIP_OFFLINE, MAVEN_OFFLINE])
def test_a_network_that_does_not_answer_is_named(tmp_path: Path, output: str) -> None:
    """The last line of neither says that it is the network."""
    (tmp_path / "output").write_text(output)
    with pytest.raises(InputError, match="expected the tool to reach the network .* check the connection, the proxy"):
        java_files._run(["sh", "-c", f"cat {tmp_path / 'output'} >&2; exit 1"], "the tool")


def test_every_jar_of_maven_has_a_hash() -> None:
    assert {Path(name).name for name in java_files.SPICE_MAVEN_FILES} == set(java_files.MAVEN_HASHES)


@pytest.mark.java
@needs_java
def test_all_metrics_agree_with_pycocoevalcap(tmp_path: Path, by_hand: CaptionRows, recorded: dict) -> None:
    measured = measure([by_hand["captions"]], by_hand["references"], tmp_path)
    assert measured.tokenizer == "ptb"
    assert measured.not_computed == {}
    for name, expected in recorded["corpus"].items():
        assert measured.metrics[name].scores[0] == pytest.approx(expected, rel=1e-9), name
    for name, expected_clips in recorded["per_clip"].items():
        np.testing.assert_allclose(measured.metrics[name].per_clip[0], expected_clips, rtol=1e-9, atol=1e-12)
    spider = (recorded["corpus"]["cider_d"] + recorded["corpus"]["spice"]) / 2
    assert measured.metrics["spider"].scores[0] == pytest.approx(spider, rel=1e-9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.java
@needs_java
@pytest.mark.slow
def test_meteor_score_agrees_with_java_on_sums(random_corpus: RandomCorpus) -> None:
    captions, references = random_corpus(7, 60)
    captions[0] = references[0][0]  # a whole match, which has a rule of its own
    counts = java_metrics.meteor_statistics(captions, references)
    groups = [counts[:20], counts[20:], counts]
    lines = ["EVAL ||| " + " ||| ".join(" ".join(map(str, clip)) for clip in group) + "\n" for group in groups]
    jar = java_files.cache_folder() / "meteor/meteor-1.5.jar"
    command = ["java", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    output = subprocess.run(command, input="".join(lines), capture_output=True, text=True, check=True).stdout.split()
    # EVAL answers with a score for each clip and then that of all.
    ends = np.cumsum([len(group) + 1 for group in groups])
    for group, end in zip(groups, ends):
        assert java_metrics.meteor_score(group.sum(0)) == pytest.approx(float(output[end - 1]), abs=1e-12)
    np.testing.assert_allclose(
        java_metrics.meteor_score(counts[:20]), [float(text) for text in output[:20]], atol=1e-12
    )


@pytest.mark.java
@needs_java
def test_ptb_tokens() -> None:
    sentences = [
        "A bell (red) rings -- it's LOUD, don't!",
        "",
        "T-shirt; 5.5 kHz: café",
        "A bell (red) rings -- it's LOUD, don't!",
    ]
    tokens, name = tokenize(sentences)
    assert name == "ptb"
    assert " ".join(tokens[0]) == "a bell -lrb- red -rrb- rings it 's loud do n't"
    assert tokens[1] == ()
    assert tokens[2] == ("t-shirt", "5.5", "khz", "café")
    assert tokens[3] == tokens[0]


@pytest.mark.slow
@pytest.mark.java
@needs_java
def test_parses_are_kept_and_a_caption_that_loops_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], by_hand: CaptionRows
) -> None:
    """Scored again, with the same references, SPICE runs once and not twice, and says the same."""
    for name in ("spice", "stanford_nlp", "meteor"):
        (tmp_path / "aac-metrics").mkdir(exist_ok=True)
        (tmp_path / "aac-metrics" / name).symlink_to(java_files.cache_folder() / name)
    monkeypatch.setenv("AAC_METRICS_CACHE_PATH", str(tmp_path))
    runs: list[int] = []
    run = spice._run
    monkeypatch.setattr(spice, "_run", lambda pairs, folder: runs.append(len(pairs)) or run(pairs, folder))
    captions, references = list(by_hand["captions"]), by_hand["references"]
    captions[0] = "a dog barks and " * 3000
    first = spice.spice(captions, references, tmp_path)
    said = capsys.readouterr().err
    assert len(runs) == 2 and "1 captions have more than 100 words, those of clips number 1; it" in said
    np.testing.assert_array_equal(spice.spice(captions, references, tmp_path), first)
    assert runs[2:] == [len(captions)]
    cut = [" ".join(caption.split()[:100]) for caption in captions]
    np.testing.assert_array_equal(spice.spice(cut, references, tmp_path), first)
    captions[1] = "something else hums"
    spice.spice(captions, references, tmp_path)
    assert runs[4:] == [1, len(captions)]  # the new caption alone is parsed
    (next((tmp_path / "aac-metrics" / "parses").iterdir()) / "sentences.json").write_text("[")  # half a file
    np.testing.assert_array_equal(spice.spice(cut, references, tmp_path), first)
