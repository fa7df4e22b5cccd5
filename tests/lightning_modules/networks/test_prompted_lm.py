"""DRCap's language model against a plain version in float64, one caption at a time and without padding."""

import json
from pathlib import Path

import pytest
import torch
from conftest import MINIATURE
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from earshot.errors import InputError
from lightning_modules.networks.prompted_lm import PromptedLm

VICUNA = str(MINIATURE / "vicuna")
PROMPT = "USER: What sound can be heard ? ASSISTANT:"
SIMILAR = [["a bell rings", "rain falls and a dog barks", "a cat meows"], [], ["wind blows"]]
CAPTIONS = ["a dog barks while a bell rings", "rain falls", "thunder rumbles and wind is blowing"]
WORDS = json.loads((MINIATURE / "vicuna/tokenizer.json").read_text())["model"]["vocab"]
BOS, EOS = 1, 2


def lm(**more: object) -> PromptedLm:
    """With LoRA that does something, as it does after training."""
    made = PromptedLm(**{"language_model": VICUNA, "prompt": PROMPT, "hidden_dim": 24, "rank": 4, **more})
    made.load(embedding_dim=10)
    torch.manual_seed(1)
    for weight in made.lora.values():
        torch.nn.init.normal_(weight, std=0.1)
    return made.eval()


def ids(text: str) -> list[int]:
    return [BOS, *(WORDS[word] for word in text.lower().replace(".", " .").replace(":", " :").split())]


class Plain:
    """The same language model in float64, with LoRA added to its weights: W + alpha / r * B A."""

    def __init__(self, of: PromptedLm, alpha: int = 32, rank: int = 4) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(VICUNA).double()
        lora = {name.replace("/", "."): weight.detach().double() for name, weight in of.lora.items()}
        layers = {name.partition(".lora_A.")[0] for name in lora if ".lora_A." in name}
        assert len(layers) == 2 * 4  # the queries and the values of four layers
        for name, module in self.model.named_modules():
            for layer in layers:
                if layer.endswith(name) and name.endswith(("q_proj", "v_proj")):
                    down, up = lora[f"{layer}.lora_A.default.weight"], lora[f"{layer}.lora_B.default.weight"]
                    module.weight.data += alpha / rank * up @ down
        self.mapping = [weight.detach().double() for weight in of.mapping.parameters()]

    def soft(self, embedding: Tensor) -> Tensor:
        first, first_bias, second, second_bias = self.mapping
        return second @ torch.clamp(first @ embedding.double() + first_bias, min=0) + second_bias

    def read(self, embedding: Tensor, before: list[int], after: list[int]) -> Tensor:
        table = self.model.get_input_embeddings().weight
        inputs = torch.cat([table[before], self.soft(embedding)[None], table[after]])
        with torch.no_grad():
            return torch.log_softmax(self.model(inputs_embeds=inputs[None]).logits[0], -1)

    def log_likelihoods(self, embedding: Tensor, before: list[int], prompt: list[int], caption: list[int]) -> Tensor:
        found = self.read(embedding, before, [*prompt, *caption])
        first = len(before) + 1 + len(prompt) - 1  # what stands there says what comes next
        return torch.stack([found[first + i, token] for i, token in enumerate(caption)])


def test_the_loss_is_of_the_captions_tokens_after_captions_a_soft_token_and_the_prompt() -> None:
    """[captions. </s>] [soft token] [<s> prompt caption </s>], as the authors' dataset puts them (rag_first)."""
    ours, embeddings = lm(), torch.randn(3, 10)
    plain = Plain(ours)
    with torch.no_grad():
        loss, count = ours(embeddings, SIMILAR, CAPTIONS)
    wanted = []
    for embedding, similar, caption in zip(embeddings, SIMILAR, CAPTIONS):
        before = [*ids("".join(f"{each}. " for each in similar)), EOS]
        wanted.append(plain.log_likelihoods(embedding, before, ids(PROMPT), [*ids(caption)[1:], EOS]))
    assert count == sum(map(len, wanted)) == 8 + 3 + 7
    assert loss.item() == pytest.approx(-torch.cat(wanted).mean().item(), abs=1e-5)


def test_captions_may_be_in_the_prompt_instead() -> None:
    """[soft token] [<s> prompt with captions, caption </s>] (rag_first=false)."""
    ours, embeddings = lm(prompt="USER: things like: {captions}this sound is like ASSISTANT:"), torch.randn(3, 10)
    plain, wanted = Plain(ours), []
    with torch.no_grad():
        loss, _ = ours(embeddings, SIMILAR, CAPTIONS)
    for embedding, similar, caption in zip(embeddings, SIMILAR, CAPTIONS):
        text = "".join(f"{each}. " for each in similar)
        prompt = ids(f"USER: things like: {text}this sound is like ASSISTANT:")
        wanted.append(plain.log_likelihoods(embedding, [], prompt, [*ids(caption)[1:], EOS]))
    assert loss.item() == pytest.approx(-torch.cat(wanted).mean().item(), abs=1e-5)


def test_greedy_captions_are_a_plain_loops_and_do_not_depend_on_the_batch() -> None:
    ours, embeddings = lm(), torch.randn(3, 10)
    plain, texts = Plain(ours), {number: word for word, number in WORDS.items()}
    found = [best[0][0] for best in ours.generate(embeddings, SIMILAR, 6, 1)]
    for embedding, similar, caption in zip(embeddings, SIMILAR, found):
        before, after = [*ids("".join(f"{each}. " for each in similar)), EOS], ids(PROMPT)
        for _ in range(6):
            scores = plain.read(embedding, before, after)[-1]
            if len(after) == len(ids(PROMPT)):
                scores[EOS] = -torch.inf  # a caption is not empty
            after.append(int(scores.argmax()))
            if after[-1] == EOS:
                break
        said = [texts.get(token, "") for token in after[len(ids(PROMPT)) :] if token > 4]
        assert caption.split() == said


@pytest.mark.parametrize("beams", [1, 3])
def test_a_caption_alone_is_the_caption_in_a_batch(beams: int) -> None:
    ours, embeddings = lm(), torch.randn(3, 10)
    together = ours.generate(embeddings, SIMILAR, 6, beams, beams)
    for row in range(3):
        (alone,) = ours.generate(embeddings[row : row + 1], SIMILAR[row : row + 1], 6, beams, beams)
        assert [text for text, _ in alone] == [text for text, _ in together[row]]
        assert [score for _, score in alone] == pytest.approx([score for _, score in together[row]], abs=1e-4)
    assert all(len(found) == beams for found in together)


def test_lora_and_the_mapping_train_and_nothing_else() -> None:
    ours = lm(dropout=0.5).train()
    frozen = {name: each.clone() for name, each in ours.model.network.state_dict().items() if "lora" not in name}
    before = {name: each.clone() for name, each in ours.state_dict().items()}
    assert {name.split(".")[0] for name in before} == {"lora", "mapping"}
    assert sum(each.numel() for each in before.values()) == 2 * 4 * 2 * 4 * 128 + 10 * 24 + 24 + 24 * 128 + 128
    losses = [ours(torch.ones(3, 10), SIMILAR, CAPTIONS)[0].item() for _ in range(2)]
    assert losses[0] != losses[1]  # LoRA's dropout
    ours.eval()
    losses = [ours(torch.ones(3, 10), SIMILAR, CAPTIONS)[0].item() for _ in range(2)]
    assert losses[0] == losses[1]
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    ours(torch.ones(3, 10), SIMILAR, CAPTIONS)[0].backward()
    optimizer.step()
    assert all(not torch.equal(each, before[name]) for name, each in ours.state_dict().items())
    after = ours.model.network.state_dict()
    assert all(torch.equal(after[name], each) for name, each in frozen.items())


def test_a_folder_gives_the_weights_back_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    ours, other = lm(), lm(hidden_dim=24)
    ours.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "mapping.safetensors",
    }  # fmt: skip
    for weight in other.parameters():
        torch.nn.init.zeros_(weight)
    other.load_pretrained(tmp_path)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, rtol=0, atol=0)
    for file in ("adapter_model.safetensors", "mapping.safetensors"):
        kept = load_file(tmp_path / file)
        save_file(dict(list(kept.items())[1:]), tmp_path / file)
        with pytest.raises(InputError, match="1 of .* missing, left over or of another shape"):
            other.load_pretrained(tmp_path)
        save_file(kept, tmp_path / file)
    with pytest.raises(InputError, match="of another shape"):
        lm(rank=2).load_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected LoRA of alpha 4 in .*, found"):
        lm(alpha=4).load_pretrained(tmp_path)
    with pytest.raises(InputError, match="expected a peft adapter"):
        other.load_pretrained(tmp_path / "nothing")


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(InputError, match="expected layers .* in .*vicuna"):
        lm(target_modules=["c_attn"])
    with pytest.raises(InputError, match="rank and alpha of at least 1"):
        lm(rank=0)
    with pytest.raises(InputError, match="expected at most 512 tokens"):
        lm().generate(torch.ones(1, 10), [["a bell rings"] * 150], 6, 1)


def test_a_caption_that_is_longer_than_the_positions_left_is_refused() -> None:
    with pytest.raises(InputError, match=r"at most 512 tokens.*found 5\d\d; lower model.num_similar or model.max_new"):
        lm().generate(torch.randn(3, 10), SIMILAR, max_new_tokens=500)
