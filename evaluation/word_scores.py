"""What captions name: things that sound, by noun or verb; their verbs; words of what is only seen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earshot.errors import InputError
from evaluation.caption_metrics import Metric, ratio, words


@dataclass(frozen=True)
class Vocabulary:
    """The words that name events, and the words of what can only be seen, in lower case.

    Attributes:
        nouns: words or phrases for each event.
        verbs: every form of the verbs for each event.
        visual_words: words or phrases.
    """

    nouns: dict[str, tuple[str, ...]]
    verbs: dict[str, tuple[str, ...]]
    visual_words: tuple[str, ...]


def read_vocabulary(path: Path) -> Vocabulary:
    """Read {"events": {"bell": {"nouns": ["bell"], "verbs": ["rings", "ringing"]}}, "visual_words": ["red"]}.

    A file that ends in .txt holds visual words alone, one a line.

    Raises:
        InputError: no such file, or not of this form.
    """
    form = '{"events": {name: {"nouns": [...], "verbs": [...]}}, "visual_words": [...]}'
    try:
        text = Path(path).read_text(encoding="utf-8")
        as_list = Path(path).suffix == ".txt"
        found: dict[str, Any] = {"events": {}, "visual_words": text.split("\n")} if as_list else json.loads(text)
        events = {name: (entry["nouns"], entry["verbs"]) for name, entry in found["events"].items()}
        lists = [*(part for entry in events.values() for part in entry), found["visual_words"]]
        if not all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in lists):
            raise TypeError
    except OSError as error:
        raise InputError(f"expected a vocabulary at {path}, found none ({error.strerror}); check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"expected {form} in {path}, found something else; correct the file") from None

    def lower(phrases: list[str]) -> tuple[str, ...]:
        return tuple(" ".join(words(phrase)) for phrase in phrases if words(phrase))

    return Vocabulary(
        nouns={name: lower(nouns) for name, (nouns, _) in events.items()},
        verbs={name: lower(verbs) for name, (_, verbs) in events.items()},
        visual_words=lower(found["visual_words"]),
    )


def named(caption: str, phrases: Mapping[str, tuple[str, ...]]) -> set[str]:
    """The keys one of whose words or phrases stands in the caption."""
    text = f" {' '.join(words(caption))} "
    return {key for key, options in phrases.items() if any(f" {option} " in text for option in options)}


def word_metrics(
    systems: Sequence[Sequence[str]], labels: Sequence[Sequence[str]], vocabulary: Vocabulary
) -> dict[str, Metric]:
    """Measure by its words what R systems say of the same N clips.

    precision: of the events that captions name (by noun or verb), the share that the clip's labels hold.
    recall: of the clips' labels, the share that is named. verb_recall: of the same labels, the share whose
    verb stands in the caption. visual_share: share of the captions with a visual word.
    A word that names several events speaks for those that sound in the clip, for all of them where none does.
    Labels that the vocabulary does not know count nowhere.

    Args:
        systems: R lists of N captions.
        labels: N lists of event names.
    """
    by_either = {name: vocabulary.nouns[name] + vocabulary.verbs[name] for name in vocabulary.nouns}
    by_word: dict[str, set[str]] = {}
    for name, options in by_either.items():
        for option in options:
            by_word.setdefault(option, set()).add(name)
    single = {word: (word,) for word in by_word}
    visual = {word: (word,) for word in vocabulary.visual_words}
    counts = np.zeros((len(systems), len(labels), 6))
    for system, captions in enumerate(systems):
        for clip, (caption, clip_labels) in enumerate(zip(captions, labels)):
            present = set(clip_labels) & set(by_either)
            said: set[str] = set()
            for word in named(caption, single):
                said |= (by_word[word] & present) or by_word[word]
            verbs = named(caption, {name: vocabulary.verbs[name] for name in present})
            counts[system, clip] = (
                len(said & present),
                len(said),
                len(present),
                len(verbs),
                bool(named(caption, visual)),
                1,
            )
    right, all_said, all_present, verbs_said, with_visual, ones = np.moveaxis(counts, -1, 0)
    return {
        "precision": ratio(right, all_said),
        "recall": ratio(right, all_present),
        "verb_recall": ratio(verbs_said, all_present),
        "visual_share": ratio(with_visual, ones),
    }
