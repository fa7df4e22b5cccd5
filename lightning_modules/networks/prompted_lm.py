"""DRCap's language model: it reads similar captions, one embedding and a prompt, and writes a caption."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from peft.utils.save_and_load import get_peft_model_state_dict, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

from earshot.errors import InputError
from lightning_modules.networks.authors_checkpoint import check_tensors
from lightning_modules.networks.digests import files_digest
from lightning_modules.networks.frozen import Frozen
from lightning_modules.networks.pretrained import pretrained

IGNORED = -100  # the label of what is not part of a caption
MAPPING, ADAPTER = "mapping.safetensors", "a peft adapter (LoRA) of a language model"
PLACE = "{captions}"
CARD = "LoRA of a language model, and beside it the mapping of CLAP's embeddings: `PromptedLm` of earshot loads both.\n"


class PromptedLm(nn.Module):
    """A frozen causal language model with LoRA, and a mapping that makes one soft token of an embedding.

    It reads, in the order of the code of DRCap's authors (`rag_first`): the similar captions, each followed by
    `between`, and an end token; the soft token; the prompt. Then it writes the caption, and an end token. A prompt with
    the words "{captions}" has the captions there instead (`rag_first=false`).

    Nothing of the language model is in the state dict but LoRA.

    Args:
        language_model: folder or hub id of a causal language model.
        prompt: after the soft token; the authors' by default. Theirs with captions in it is "USER: Similar audios sound
            like: {captions}This audio sounds like \\n ASSISTANT:".
        between: after each of the similar captions.
        hidden_dim: of the mapping's two layers with a ReLU between; the authors call it a linear mapping.
        rank: of LoRA.
        alpha: of LoRA.
        dropout: of LoRA.
        target_modules: the layers that LoRA is beside.

    Raises:
        InputError: sizes below 1, or a dropout outside of [0, 1).
    """

    def __init__(
        self,
        language_model: str = "lmsys/vicuna-7b-v1.5",
        prompt: str = "USER: Describe the audio you hear. \n ASSISTANT:",
        between: str = ". ",
        hidden_dim: int = 2048,
        rank: int = 8,
        alpha: int = 32,
        dropout: float = 0.05,
        target_modules: Sequence[str] = ("q_proj", "v_proj"),
    ) -> None:
        super().__init__()
        if min(hidden_dim, rank, alpha) < 1 or not 0 <= dropout < 1:
            raise InputError(
                f"expected hidden_dim, rank and alpha of at least 1 and dropout from 0 to below 1, found {hidden_dim}, "
                f"{rank}, {alpha} and {dropout}; correct them"
            )
        self.language_model, self.prompt, self.between, self.hidden_dim = language_model, prompt, between, hidden_dim
        self.lora_config = LoraConfig(
            task_type="CAUSAL_LM", r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(target_modules)
        )
        self.mapping = nn.Sequential()
        self.lora = nn.ParameterDict()  # the adapter's own parameters, so that they train there
        self.tokenizer: Any = None  # until `load`

    def load(self, embedding_dim: int, dtype: torch.dtype | None = None) -> None:
        """Load the language model, in `dtype` or that of its file, and make what trains; once.

        Raises:
            InputError: there is no such model, or it has no layers of these names.
        """
        if self.tokenizer is not None:
            return
        with pretrained(self.language_model, "a causal language model") as name:
            model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=dtype or "auto")
            self.tokenizer = AutoTokenizer.from_pretrained(name)
        self.model = Frozen(model)
        with torch.random.fork_rng([]):
            torch.manual_seed(torch.initial_seed())  # whatever was drawn before, which differs by the number of devices
            self._make(model, embedding_dim)

    def _make(self, model: Any, embedding_dim: int) -> None:
        """LoRA and the mapping."""
        try:
            self._adapted = (get_peft_model(model, self.lora_config),)  # a tuple, so that it is not registered
        except ValueError as error:
            raise InputError(
                f"expected layers {sorted(self.lora_config.target_modules)} in {self.language_model}, found {error}; "
                "correct target_modules"
            ) from error
        trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.lora.update({name.replace(".", "/"): each for name, each in trained.items()})
        width = model.get_input_embeddings().weight.shape[1]
        layers = nn.Linear(embedding_dim, self.hidden_dim), nn.ReLU(), nn.Linear(self.hidden_dim, width)
        self.mapping = nn.Sequential(*layers)

    def forward(self, embeddings: Tensor, similar: list[list[str]], captions: list[str]) -> tuple[Tensor, Tensor]:
        """The mean negative log-likelihood of a token of the captions, their end tokens included, and their number.

        Args:
            embeddings: (B, D).
            similar: of each caption the similar ones.
            captions: B of them.
        """
        rows = list(zip(self.before(similar), self.after(similar, captions)))
        inputs, mask = self._inputs(embeddings, rows, left=False)
        labels = torch.full(mask.shape, IGNORED)  # (B, L)
        for row, ((before, after), asked) in enumerate(zip(rows, self.after(similar, [""] * len(similar)))):
            prompt = len(asked) - 1
            labels[row, len(before) + 1 + prompt : len(before) + 1 + len(after)] = torch.tensor(after[prompt:])
        self._drop_out(self.training)
        logits = self.model.network(inputs_embeds=inputs, attention_mask=mask, use_cache=False).logits[:, :-1]
        wanted = labels[:, 1:].to(logits.device)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED)
        return loss, (wanted != IGNORED).sum()

    @torch.inference_mode()
    def generate(
        self,
        embeddings: Tensor,
        similar: list[list[str]],
        max_new_tokens: int,
        num_beams: int = 1,
        returned: int = 1,
        processors: LogitsProcessorList | None = None,
    ) -> list[list[tuple[str, float]]]:
        """Captions of embeddings (B, D); none depends on the others of the batch.

        Args:
            embeddings: (B, D).
            similar: of each the similar captions.
            max_new_tokens: longest caption.
            num_beams: 1 is no beam search.
            returned: captions of each.
            processors: of transformers, such as those that sample.

        Returns:
            Of each the `returned` best, with the mean log-likelihood of their tokens; 0 without a beam search.
        """
        asked = self.after(similar, [""] * len(similar))
        rows = [(before, after[:-1]) for before, after in zip(self.before(similar), asked)]
        inputs, mask = self._inputs(embeddings, rows, left=True, written=max_new_tokens)
        self._drop_out(False)
        found = self.model.network.generate(
            inputs_embeds=inputs, attention_mask=mask, num_beams=num_beams, num_return_sequences=returned,
            max_new_tokens=max_new_tokens, min_new_tokens=1, do_sample=False, return_dict_in_generate=True,
            output_scores=True, pad_token_id=self.end, eos_token_id=self.end, logits_processor=processors,
        )  # fmt: skip
        texts = self.tokenizer.batch_decode(found.sequences, skip_special_tokens=True)
        scores = found.sequences_scores.tolist() if num_beams > 1 else [0.0] * len(texts)
        pairs = [(text.strip(), score) for text, score in zip(texts, scores)]
        return [pairs[row : row + returned] for row in range(0, len(pairs), returned)]

    def _drop_out(self, dropping: bool) -> None:
        """Whether LoRA's dropout acts: the language model is always in evaluation mode, so it does not follow ours."""
        for name, module in self.model.network.named_modules():
            if name.endswith("lora_dropout"):
                module.train(dropping)

    @property
    def end(self) -> int:
        """The token that ends similar captions and captions."""
        end: int = self.tokenizer.eos_token_id
        return end

    def before(self, similar: list[list[str]]) -> list[list[int]]:
        """The tokens before the soft one, for B lists of similar captions."""
        return [[] for _ in similar] if PLACE in self.prompt else self._ids(map(self._joined, similar))

    def after(self, similar: list[list[str]], captions: list[str]) -> list[list[int]]:
        """The tokens after the soft one, for B lists of similar captions and B captions."""
        found = zip(map(self._joined, similar), captions)
        return self._ids(self.prompt.replace(PLACE, joined) + caption for joined, caption in found)

    def _joined(self, similar: list[str]) -> str:
        return "".join(f"{text}{self.between}" for text in similar)

    def _ids(self, texts: Iterable[str]) -> list[list[int]]:
        """The tokens of each text, and an end token."""
        return [[*ids, self.end] for ids in self.tokenizer(list(texts))["input_ids"]]

    def _inputs(
        self, embeddings: Tensor, rows: list[tuple[list[int], list[int]]], left: bool, written: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Embedded tokens (B, L, width) and their mask (B, L), with padding at the left or the right.

        Raises:
            InputError: they, and `written` tokens after them, are more than the language model has positions.
        """
        longest = max(len(before) + 1 + len(after) for before, after in rows)
        room = getattr(self.model.network.config, "max_position_embeddings", None) or longest + written
        if longest + written > room:
            raise InputError(
                f"expected at most {room} tokens, the language model's positions, of similar captions, prompt and "
                f"caption, found {longest + written}; lower model.num_similar or model.max_new_tokens"
            )
        tokens = torch.full((len(rows), longest), self.end)
        mask = torch.zeros_like(tokens)
        soft = torch.zeros(len(rows), dtype=torch.long)
        for row, (before, after) in enumerate(rows):
            start = longest - len(before) - 1 - len(after) if left else 0
            soft[row] = start + len(before)
            filled = slice(start, start + len(before) + 1 + len(after))
            tokens[row, filled] = torch.tensor([*before, self.end, *after])
            mask[row, filled] = 1
        device = embeddings.device
        inputs = self.model.network.get_input_embeddings()(tokens.to(device))  # (B, L, width)
        mapped = self.mapping(embeddings).to(inputs.dtype)  # (B, width)
        return inputs.index_put((torch.arange(len(rows), device=device), soft.to(device)), mapped), mask.to(device)

    def save_pretrained(self, folder: Path) -> None:
        """Write a standard peft adapter, and the mapping beside it."""
        (folder / "README.md").write_text(CARD)  # peft would write a form to fill in
        self._adapted[0].save_pretrained(folder)
        save_file({name: each.contiguous() for name, each in self.mapping.state_dict().items()}, folder / MAPPING)

    def load_pretrained(self, folder: Path) -> None:
        """Take what `save_pretrained` wrote.

        Raises:
            InputError: something is missing, left over, of another shape or not finite; or LoRA has another alpha.
        """
        with pretrained(folder, ADAPTER) as name:
            weights, mapping = load_peft_weights(name, device="cpu"), load_file(folder / MAPPING)
            alpha = LoraConfig.from_pretrained(name).lora_alpha
        if alpha != self.lora_config.lora_alpha:
            raise InputError(
                f"expected LoRA of alpha {self.lora_config.lora_alpha} in {folder}, found {alpha}; give this command "
                "the alpha of fit"
            )
        check_tensors(weights, get_peft_model_state_dict(self._adapted[0]), folder, ADAPTER)
        check_tensors(mapping, self.mapping.state_dict(), folder / MAPPING, "a mapping of embeddings")
        set_peft_model_state_dict(self._adapted[0], weights)
        self.mapping.load_state_dict(mapping)

    def made_by(self) -> dict[str, Any]:
        """What it was and is trained with, as JSON; also before `load`."""
        read = {"prompt": self.prompt, "between": self.between}
        return read | {"language_model": files_digest(self.language_model) or self.language_model}
