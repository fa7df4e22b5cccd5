"""The miniature's sentences, to train a classifier on."""

from pathlib import Path
from typing import Any

from datamodules.sentence_datamodule import SentenceDataModule
from miniature.splits import write_sentences
from miniature.vocabulary import without_article


class MiniatureSentences(SentenceDataModule):
    """A `SentenceDataModule` whose text files write themselves where they are missing.

    Sentences lose the article they begin with, because the prompt of guided decoding ends with one: kept, it would
    follow the prompt's own in most sentences, and where it did not, that would tell the classifier more than the words.

    Args:
        arguments: of `SentenceDataModule`.
    """

    def __init__(self, root: str = "data/miniature", **arguments: Any) -> None:
        super().__init__(root, **arguments)
        self.prepare_data_per_node = False

    def prepare_data(self) -> None:
        """Write the sentences unless they are there."""
        if not all((Path(self.root) / name).is_file() for name in (self.files or {}).values()):
            write_sentences(Path(self.root))

    def setup(self, stage: str) -> None:
        """Read the sentences, split them, and remove their first article."""
        super().setup(stage)
        for part, (texts, classes) in self.parts.items():
            self.parts[part] = ([without_article(text) for text in texts], classes)
