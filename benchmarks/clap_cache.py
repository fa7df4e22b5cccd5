"""What caching CLAP's text embeddings saves: `python -m benchmarks.clap_cache captions.csv`.

The paper's sizes with random weights: BERT-base inside CLAP, the decoder of 4 layers of 768, batches of 64. In one
process, in turns, CPU seconds of a training step that looks its embeddings up in a cache and of the same step with
the text tower inside; then what filling the cache costs, from a sample of the captions, and the epoch that pays it.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, BertTokenizer

from datamodules.caption_table import read_captions
from earshot.errors import InputError, one_line_errors
from lightning_modules.embeddings.cache import cached, new_cache
from lightning_modules.embeddings.store import TEXTS_AT_ONCE
from lightning_modules.networks.clap.cnn14 import Cnn14
from lightning_modules.networks.clap.encoder import ClapEncoder, cleaned
from lightning_modules.networks.prefix_decoder import PrefixDecoder

BATCH = 64


def made_tokenizer(texts: list[str]) -> BertTokenizer:
    """A tokenizer with one token a word and BERT's vocabulary size; the real one makes slightly longer sequences."""
    words = sorted({word for text in texts for word in cleaned(text).split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", ".", *words][:30522]
    vocabulary += [f"[unused{i}]" for i in range(30522 - len(vocabulary))]
    return BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)})


def cpu_seconds(function: Callable[..., object], *arguments: object) -> float:
    """CPU seconds of one call, over all threads."""
    start = time.process_time()
    function(*arguments)
    return time.process_time() - start


def main(args: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path, help="table of captions")
    parser.add_argument("--steps", type=int, default=8, help="of each kind (%(default)s)")
    parser.add_argument("--sample", type=int, default=1024, help="captions embedded to time the cache (%(default)s)")
    with one_line_errors():
        measure(parser.parse_args(args))


def measure(options: argparse.Namespace) -> None:
    """Measure and print.

    Raises:
        InputError: no such table, or one of too few captions.
    """
    torch.manual_seed(0)
    texts = [text for group in read_captions(options.captions).values() for text in group]
    if len(texts) < (least := max(BATCH, options.sample)):
        raise InputError(
            f"expected at least {least} captions in {options.captions}, found {len(texts)}; name a larger table, or "
            f"lower --sample, down to {BATCH}"
        )
    tokenizer = made_tokenizer(texts)
    clap = ClapEncoder(Cnn14((8, 8, 8, 8, 8, 8)), BertModel(BertConfig(), add_pooling_layer=False), tokenizer).eval()
    decoder = PrefixDecoder(1024, len(tokenizer), 2, 3, 0).train()
    optimizer = torch.optim.Adam(decoder.parameters(), lr=2e-5)
    rng = np.random.default_rng(0)
    batches = [rng.choice(len(texts), BATCH, replace=False) for _ in range(options.steps + 1)]

    with tempfile.TemporaryDirectory() as folder:
        path, shape = Path(folder) / "text.f32", (len(texts), 1024)
        with new_cache(path, shape) as table:
            table.copy_(torch.nn.functional.normalize(torch.randn(shape), dim=1))
        memory = cached(path, shape)
        assert memory is not None

        def step(rows: np.ndarray, embed: Callable[[np.ndarray], Tensor]) -> None:
            some = [texts[i] for i in rows]
            tokens = tokenizer(some, padding=True, truncation=True, max_length=22, return_tensors="pt")
            with torch.no_grad():
                embeddings = embed(rows)
            optimizer.zero_grad()
            decoder(embeddings, tokens["input_ids"]).backward()
            optimizer.step()

        kinds: dict[str, Callable[[np.ndarray], Tensor]] = {
            "cache": lambda rows: memory[torch.from_numpy(rows)],
            "tower": lambda rows: clap.embed_text([texts[i] for i in rows]),
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
        for number, rows in enumerate(batches):
            for kind, embed in kinds.items():
                taken = cpu_seconds(step, rows, embed)
                if number:  # the first warms up
                    seconds[kind].append(taken)

    sample = sorted(rng.choice(len(texts), options.sample, replace=False), key=lambda i: len(texts[i]))
    chunks = [sample[i : i + TEXTS_AT_ONCE] for i in range(0, len(sample), TEXTS_AT_ONCE)]
    with torch.no_grad():
        filling = sum(cpu_seconds(clap.embed_text, [texts[i] for i in c]) for c in chunks)
    filling *= len(texts) / len(sample)
    cache, tower = (statistics.median(seconds[kind]) for kind in ("cache", "tower"))
    steps = len(texts) // BATCH
    print(f"{len(texts)} captions, {steps} steps an epoch; medians of {options.steps} steps, CPU seconds")
    print(f"step with the cache {cache:.2f}, with the tower inside {tower:.2f}: ratio {cache / tower:.3f}")
    print(f"filling the cache {filling:.0f}, from {len(sample)} captions")
    print(
        f"saved in an epoch {(tower - cache) * steps:.0f}: paid after {filling / ((tower - cache) * steps):.2f} epochs"
    )


if __name__ == "__main__":
    main()
