"""Scores by words: the sounding events that captions name, by noun or by verb, and words for what is only seen."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from earshot.errors import InputError
from evaluation.metric import Metric, ratio
from evaluation.tokens import words


@dataclass(frozen=True)
class Vocabulary:
    """The words that name events, and the words for what can only be seen, in lower case.

    Attributes:
        nouns: nouns or phrases of each event.
        verbs: every form of each event's verbs.
        visual_words: words or phrases.
    """

    nouns: dict[str, tuple[str, ...]]
    verbs: dict[str, tuple[str, ...]]
    visual_words: tuple[str, ...]


def read_vocabulary(path: Path) -> Vocabulary:
    """Read {"events": {"bell": {"nouns": ["bell"], "verbs": ["rings", "ringing"]}}, "visual_words": ["red"]}.

    A .txt file holds visual words only, one per line.

    Raises:
        InputError: no such file, or not of this form.
    """
    form = '{"events": {name: {"nouns": [...], "verbs": [...]}}, "visual_words": [...]}'
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".txt":
            return Vocabulary({}, {}, _phrases(text.split("\n")))
        found = json.loads(text)
        return Vocabulary(
            nouns={name: _phrases(event["nouns"]) for name, event in found["events"].items()},
            verbs={name: _phrases(event["verbs"]) for name, event in found["events"].items()},
            visual_words=_phrases(found["visual_words"]),
        )
    except OSError as error:
        raise InputError(f"expected a vocabulary at {path}, found none ({error.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"expected {form} in {path}, found something else; correct the file") from None


def _phrases(found: object) -> tuple[str, ...]:
    """Phrases of a JSON list as lower-cased words."""
    if not isinstance(found, list) or not all(isinstance(phrase, str) for phrase in found):
        raise TypeError
    return tuple(" ".join(words(phrase)) for phrase in found if words(phrase))


def named(caption: str, phrases: Iterable[str]) -> set[str]:
    """The words and phrases that the caption contains."""
    text = f" {' '.join(words(caption))} "
    return {phrase for phrase in phrases if f" {phrase} " in text}


def word_metrics(
    systems: Sequence[Sequence[str]], labels: Sequence[Sequence[str]], vocabulary: Vocabulary
) -> dict[str, Metric]:
    """Score the words in the captions that R systems gave the same N clips.

    precision: the share of the events named in captions (by noun or verb) that are among the clip's labels.
    recall: the share of the clips' labels that the captions name. verb_recall: the share of the clips' labels that
    the captions name by a verb. visual_share: the share of captions with a visual word.
    A word that several events share counts for those among the clip's labels, or for all of them where none is.
    Labels that are not in the vocabulary are ignored.

    Args:
        systems: R lists of N captions.
        labels: N lists of event names.
    """
    events: dict[str, set[str]] = defaultdict(set)  # by word
    for name, nouns in vocabulary.nouns.items():
        for word in nouns + vocabulary.verbs[name]:
            events[word].add(name)
    counts = np.zeros((len(systems), len(labels), 6))
    for system, captions in enumerate(systems):
        for clip, (caption, clip_labels) in enumerate(zip(captions, labels)):
            present = vocabulary.nouns.keys() & set(clip_labels)
            found = named(caption, events)
            said = set().union(*((events[word] & present) or events[word] for word in found))
            verbs = [name for name in present if not found.isdisjoint(vocabulary.verbs[name])]
            seen = bool(named(caption, vocabulary.visual_words))
            counts[system, clip] = len(said & present), len(said), len(present), len(verbs), seen, 1
    right, all_said, all_present, verbs_said, with_visual, ones = np.moveaxis(counts, -1, 0)
    return {
        "precision": ratio(right, all_said),
        "recall": ratio(right, all_present),
        "verb_recall": ratio(verbs_said, all_present),
        "visual_share": ratio(with_visual, ones),
    }
