"""The file of a decoder that WSAC's authors' code trains, `epoch-<n>.pt`: a GPT-2 and one layer before it."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from earshot.errors import InputError
from lightning_modules.networks.authors_checkpoint import check_tensors, read_checkpoint, tensors_in

WHAT = "a decoder of WSAC's authors"
WHERE = "their code, github.com/zelaki/wsac, whose train.py writes it: no weights are published"
MASKS = re.compile(r"\.attn\.(masked_)?bias$")  # constants, in files of old transformers
CUT = (
    "language_model.transformer.wte.weight",
    "language_model.lm_head.weight",
    "language_model.transformer.wpe.weight",
)


def read_decoder(path: str | Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `PrefixDecoder` with one mapping layer.

    Theirs have 50,257 rows of words, of which BERT's tokenizer uses the first 30,522, and 1,024 positions; the rows
    that `expected` has not are left out.

    Args:
        path: of the file.
        expected: the state of such a decoder.

    Raises:
        InputError: no such file, another kind of file, or a tensor missing, left over or of another shape.
    """
    found = {}
    for name, value in tensors_in(read_checkpoint(path, WHAT, WHERE)).items():
        ours = re.sub(r"^decoder\.", "language_model.", name)
        ours = re.sub(r"^cl[ai]p_project\.model\.", "mapping.", ours)  # their test calls it clip_project
        if not MASKS.search(ours):
            wanted = expected.get(ours)
            longer = ours in CUT and wanted is not None and len(value) > len(wanted)
            found[ours] = value[: len(wanted)] if longer and wanted is not None else value
    check_tensors(found, expected, path, WHAT)
    words, head = CUT[:2]
    if not torch.equal(found[words], found[head]):
        raise InputError(f"expected {WHAT} in {str(path)!r}, found a head that is not the table of words; use another")
    return found
