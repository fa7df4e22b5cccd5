"""METEOR and the PTB tokenizer, each one run of a Java program (Java 8 or newer, tested with 17).

Nothing here stops an evaluation: every failure is a `NotComputed` with the reason in a few words.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.java_files import FETCH_COMMAND, METEOR_FILES, TOKENIZER_FILES, cache_folder, missing
from evaluation.metric import NotComputed

# The tokens that caption metrics drop. Brackets stay, as -lrb- and -rrb-, because published scores keep them: the
# list in general use has them in capitals and the tokens are lower-cased.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
METEOR_STATISTICS = 23

# SPICE caches its parses by fst-2.47, which uses the internals of these packages; Java 16 and newer closes them.
_OPEN_PACKAGES = ("lang", "math", "util", "util.concurrent", "net", "text")
_OPEN = " ".join(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPEN_PACKAGES)


def _heap() -> str:
    """Half of the memory that this process may use, between 1 and 8 GB, as Java's option -Xmx."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        memory = min(memory, int(text))
    return f"-Xmx{min(max(memory // 2**21, 1024), 8192)}m"


def complaint(result: subprocess.CompletedProcess[str]) -> str:
    """The last line of a failed program's output that looks like a reason."""
    lines = [line.strip() for line in result.stderr.splitlines() if "Picked up" not in line]
    reasons = [line for line in lines if "Exception" in line or "Error" in line]
    return f"Java failed: {(reasons or lines or [f'code {result.returncode}'])[-1][:150]}"


def run_java(
    files: dict[str, str], arguments: list[str], timeout: float, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run Java with `text` as its input."""
    java = shutil.which("java")
    if java is None:
        raise NotComputed(f"no Java on the PATH; install one (any LTS), then `{FETCH_COMMAND}`")
    if lacking := missing(files):
        raise NotComputed(f"{len(lacking)} of its files are not there; `{FETCH_COMMAND}` fetches them")
    # Java 8, which would stop at --add-opens, does not read JDK_JAVA_OPTIONS; it would read JAVA_TOOL_OPTIONS.
    options = f"{os.environ.get('JDK_JAVA_OPTIONS', '')} {_OPEN}".strip()
    # Whatever the locale, numbers have a decimal point and captions are UTF-8.
    flags = ["-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8", _heap()]
    try:
        result = subprocess.run(
            [java, *flags, *arguments],
            input=text,
            capture_output=True,
            check=False,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            env={**os.environ, "JDK_JAVA_OPTIONS": options},
        )
    except subprocess.TimeoutExpired:
        raise NotComputed(f"Java had not finished after {timeout:.0f} s") from None
    except OSError as error:
        raise NotComputed(f"Java did not start: {error.strerror}") from None
    if result.returncode:
        raise NotComputed(complaint(result))
    return result


def tokenize(sentences: Sequence[str]) -> list[list[str]]:
    """Lower-cased Penn Treebank tokens, without punctuation, of sentences that are one line each.

    Raises:
        NotComputed: no Java, no files, or Java failed.
    """
    distinct = list(dict.fromkeys(sentences))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sentences.txt"
        path.write_text("".join(f"{sentence}\n" for sentence in distinct), encoding="utf-8")
        jar = str(cache_folder() / "stanford_nlp/stanford-corenlp-3.4.1.jar")
        command = ["-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase", str(path)]
        lines = run_java(TOKENIZER_FILES, command, timeout=600).stdout.split("\n")
    if len(lines) != len(distinct) + 1:  # the last line ends too
        raise NotComputed(f"the tokenizer returned {len(lines) - 1} lines for {len(distinct)} sentences")
    tokens = [[token for token in line.split() if token not in PUNCTUATION] for line in lines]
    return [list(found) for found in map(dict(zip(distinct, tokens)).__getitem__, sentences)]


def meteor_statistics(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """METEOR 1.5's counts for each caption against the best of its references: (N, 23).

    They add up over captions; `meteor_score` turns the sum into a score.

    Args:
        captions: N tokenized sentences.
        references: N lists of tokenized sentences.

    Raises:
        NotComputed: no Java, no files, or Java failed.
    """
    lines = [
        " ||| ".join(("SCORE", *(text.replace("|||", " ") for text in (*clip_references, caption)))) + "\n"
        for caption, clip_references in zip(captions, references)
    ]
    command = ["-jar", str(cache_folder() / "meteor/meteor-1.5.jar"), "-", "-", "-stdio", "-l", "en", "-norm"]
    result = run_java(METEOR_FILES, command, timeout=300 + 0.2 * len(lines), text="".join(lines))
    statistics = [line.split() for line in result.stdout.splitlines()]
    if len(statistics) != len(captions) or any(len(line) != METEOR_STATISTICS for line in statistics):
        raise NotComputed(complaint(result))
    counts = np.array(statistics, dtype=np.float64)  # (N, 23)
    # A caption that matches completely and in one piece is not fragmented: METEOR then counts no chunk.
    whole = (counts[:, 20] == 1) & (counts[:, 21:] == counts[:, :2]).all(1)
    counts[whole, 20] = 0
    return counts


def meteor_score(statistics: np.ndarray) -> np.ndarray:
    """METEOR 1.5 (Denkowski and Lavie 2014, equations 1 to 5, English parameters): (..., 23) -> (...)

    The summed counts: words of caption and reference (0, 1), function words of both (2, 3); for each matcher
    (exact, stem, synonym, paraphrase) the content words that it matches in caption and reference, then the
    function words (4 to 19); chunks (20); matched words of caption and reference (21, 22).
    """
    alpha, beta, gamma, delta = 0.85, 0.2, 0.6, 0.75
    weights = np.array([1.0, 0.6, 0.8, 0.6])
    matched = statistics[..., 4:20].reshape(*statistics.shape[:-1], 4, 4)  # (..., matcher, 4)
    sides = []
    for side in (0, 1):  # precision over the caption's words, recall over the reference's
        words, function_words = statistics[..., side], statistics[..., 2 + side]
        found = (weights * (delta * matched[..., side] + (1 - delta) * matched[..., 2 + side])).sum(-1)
        total = delta * (words - function_words) + (1 - delta) * function_words
        sides.append(np.divide(found, total, out=np.zeros_like(found), where=total > 0))
    precision, recall = sides
    mixed = alpha * precision + (1 - alpha) * recall
    f_mean = np.divide(precision * recall, mixed, out=np.zeros_like(mixed), where=mixed > 0)
    chunks, matches = statistics[..., 20], statistics[..., 21:23].mean(-1)
    fragmentation = np.divide(chunks, matches, out=np.zeros_like(matches), where=matches > 0)
    scores: np.ndarray = f_mean * (1 - gamma * fragmentation**beta)
    return scores
