"""Whether a tokenizer knows the words of the training texts: one that does not trains a model to say nothing."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from earshot.errors import InputError

MOST = 10_000  # texts that are looked at, evenly spread: a second, and a share that is right to a percent
WARNED, REFUSED = 0.05, 0.5  # shares of unknown tokens
NAMED = 5  # at most this many words are named


def require_known_words(
    tokenizer: Any, texts: Sequence[str], remedy: str, tell: Callable[[str], object], longest: int | None = None
) -> None:
    """Count the tokens that stand for unknown words, and `tell` their share where it is above 5%.

    Tokenizers without such a token, as those of bytes, know every word.

    Args:
        tokenizer: of transformers.
        texts: that fit trains on.
        remedy: the overlay that brings a tokenizer of real captions, for the error.
        tell: called with a warning.
        longest: texts of more tokens are cut, those around them included; more than 5% of such texts are told, too.

    Raises:
        InputError: more than half of the tokens are unknown.
    """
    texts = texts[:: -(-len(texts) // MOST) or 1]
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]  # one by one: no threads to fork
    number, unknown = sum(map(len, ids)), tokenizer.unk_token_id
    share = sum(each.count(unknown) for each in ids) / max(number, 1) if unknown is not None else 0.0
    if share > WARNED:
        words = Counter(word for text in texts for word in re.findall(r"\w+", text.lower()))
        missing = (word for word, _ in words.most_common() if unknown in tokenizer(word)["input_ids"])
        such = f"such as {', '.join(map(repr, islice(missing, NAMED)))}"
        if share > REFUSED:
            raise InputError(
                f"expected a tokenizer that knows the training captions, found {share:.0%} unknown words, {such}; add "
                f"{remedy}, or name another model whose tokenizer knows them: the miniature's models know its own few "
                "words"
            )
        tell(
            f"warning: {share:.0%} of the words in the training captions are unknown to the tokenizer, {such}; the "
            "model cannot learn them"
        )
    if longest is not None:
        room = longest - tokenizer.num_special_tokens_to_add()
        cut = sum(len(each) > room for each in ids) / max(len(ids), 1)
        if cut > WARNED:
            tell(f"warning: {cut:.0%} of the training captions have more than {longest} tokens and are cut")
