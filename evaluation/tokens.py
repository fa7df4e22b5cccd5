"""Sentences as tokens and n-grams: by the PTB tokenizer where there is Java, else by a regular expression."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from evaluation import java_metrics
from evaluation.metric import NotComputed

Tokens = tuple[str, ...]
MAX_ORDER = 4  # of n-grams, in BLEU and in CIDEr-D
# One alternative per kind of token: "do" of "don't", "n't", "'s", words with inner hyphens, points or commas.
_WORD = re.compile(r"\w+(?=n't\b)|n't\b|'\w+|\w+(?:[-.,]\w+)*")


@lru_cache(maxsize=2**17)
def words(sentence: str) -> Tokens:
    """Lower-cased words without punctuation, the substitute for the PTB tokenizer where there is no Java.

    The two agree on plain sentences and differ on brackets, quotes, slashes, symbols and most abbreviations, so
    do not compare scores made with different tokenizers.
    """
    return tuple(_WORD.findall(sentence.lower()))


def tokenize(sentences: Sequence[str], java: bool = True) -> tuple[list[Tokens], str]:
    """The tokens of each sentence, and the tokenizer: "ptb" where Java and its files are available, else "words"."""
    lines = [" ".join(sentence.split()) for sentence in sentences]
    if java:
        try:
            return [tuple(tokens) for tokens in java_metrics.tokenize(lines)], "ptb"
        except NotComputed:
            pass
    return [words(line) for line in lines], "words"


@lru_cache(maxsize=2**14)
def ngrams(tokens: Tokens) -> Counter[Tokens]:
    """The n-grams of orders 1 to 4, counted."""
    return Counter(
        tokens[start : start + order] for order in range(1, MAX_ORDER + 1) for start in range(len(tokens) - order + 1)
    )
