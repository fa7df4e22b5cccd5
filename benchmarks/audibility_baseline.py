"""TF-IDF with logistic regression beside an audibility classifier: `python -m benchmarks.audibility_baseline FOLDER`.

FOLDER is the classifier's export. Both are scored on the same held-out sentences, of which neither has seen one (the
split of `configs/audibility/sentences.yaml`); the interval of the difference is bootstrapped over sentences.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from datamodules.sentence_datamodule import distinct, read_lines, split
from earshot.errors import one_line_errors
from lightning_modules.decoding.prompt import prompted
from lightning_modules.networks.sequence_classifier import SequenceClassifier


def accuracy(labels: np.ndarray, scores: np.ndarray) -> float:
    """At a probability of one half."""
    return float(((scores > 0.5) == labels).mean())


def main() -> None:
    """Run the command line of the process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("classifier", type=Path, help="folder that fit exported")
    parser.add_argument("--root", type=Path, default=Path("data/audibility"), help="of the files (%(default)s)")
    parser.add_argument("--files", nargs=2, default=["notAudible.txt", "audible.txt"], help="inaudible, audible")
    parser.add_argument("--split-seed", type=int, default=42, help="as data.split_seed (%(default)s)")
    options = parser.parse_args()
    with one_line_errors():
        compare(options)


@torch.inference_mode()
def compare(options: argparse.Namespace) -> None:
    """Fit the baseline, score it and the classifier on the same sentences, and print."""
    read = {label: read_lines(options.root / name) for label, name in zip(("inaudible", "audible"), options.files)}
    parts = split(distinct(read), {"test": 0.15, "val": 0.1}, options.split_seed)
    texts, labels = parts["test"]
    tf_idf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    regression = LogisticRegression(C=10.0, max_iter=1000)
    regression.fit(tf_idf.fit_transform(parts["train"][0]), parts["train"][1])
    found = {"TF-IDF": regression.predict_proba(tf_idf.transform(texts))[:, 1]}
    classifier = SequenceClassifier.from_pretrained(options.classifier).eval()
    asked = [prompted(text) for text in texts]
    chunks = [classifier.probability(asked[i : i + 256], "audible") for i in range(0, len(asked), 256)]
    found["classifier"] = torch.cat(chunks).numpy()
    rng = np.random.default_rng(0)
    samples = rng.integers(len(labels), size=(1000, len(labels)))
    for name, score in (("accuracy", accuracy), ("AUROC", roc_auc_score)):
        ours, theirs = (float(score(labels, found[key])) for key in ("classifier", "TF-IDF"))
        gaps = [score(labels[i], found["classifier"][i]) - score(labels[i], found["TF-IDF"][i]) for i in samples]
        low, high = np.percentile(gaps, [2.5, 97.5])
        print(
            f"{name} on {len(labels)} sentences: classifier {ours:.4f}, TF-IDF with logistic regression {theirs:.4f}, "
            f"difference {ours - theirs:.4f} [{low:.4f}, {high:.4f}]"
        )


if __name__ == "__main__":
    main()
