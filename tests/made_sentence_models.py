"""Small random models of the kinds that FENSE is computed with: a sentence encoder, a fluency classifier."""

from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

SENTENCE = "a the dog dogs bell bells rings ring barks bark while rain falls near is and of loud it 's n't do music"


def bert(folder: Path) -> Path:
    """BERT and its tokenizer in a folder."""
    folder.mkdir(parents=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SENTENCE.split(), *"abcdefghijklmnopqrstuvwxyz"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(vocabulary)) + "\n")
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(set(vocabulary)), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


def sentence_encoder(folder: Path) -> Path:
    """A sentence-transformers model in a folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    encoder = Transformer(str(bert(folder.with_name("bert"))), max_seq_length=64)
    SentenceTransformer(modules=[encoder, Pooling(32)], device="cpu").save(str(folder))
    return folder


def fluency_classifier(folder: Path) -> Path:
    """FENSE's .ckpt beside its encoder; of the errors it finds, some are over the threshold of 0.9 and some below."""
    from aac_metrics.functional.fer import BERTFlatClassifier

    bert(folder)
    classifier = BERTFlatClassifier(str(folder), num_classes=6)
    torch.nn.init.normal_(classifier.clf.weight, std=2.0)
    states = classifier.state_dict() | {"encoder.embeddings.position_ids": torch.arange(64)[None]}  # as theirs has
    torch.save({"model_type": str(folder), "num_classes": 6, "state_dict": states}, folder / "echecker.ckpt")
    return folder
