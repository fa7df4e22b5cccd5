"""PYTHONPATH=tests python -m full_size_stand_ins FOLDER: small files in the place of all that full size reads.

Names and layouts are those of docs/full_size_files.md, weights are random: to try `make dali SIZE=paper` and the others
in FOLDER before anything is downloaded (pipelines/README.md).
"""

import csv
import json
import shutil
import sys
from pathlib import Path

import torch
from conftest import MINIATURE
from made_blip2 import write_blip2
from made_cav_mae import authors_layout, authors_weights
from made_clap import cnn14, file_of, htsat
from made_imagebind import layout
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    CLIPConfig,
    CLIPVisionConfig,
    DistilBertConfig,
    DistilBertForMaskedLM,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedTokenizerFast,
)

from datamodules.shards import read_index, records
from miniature import ensure_split
from miniature.corpora import sentences

CLIPS = {  # of each split
    "audioset/train": 8, "audioset/val": 4, "audioset/balanced": 8, "audiocaps/train": 70, "audiocaps/val": 4,
    "audiocaps/test": 4, "clotho/test": 4, "wavcaps/train": 6, "clotho/train": 8, "clotho/val": 4,
}  # fmt: skip
TABLES = {"audiocaps/train": 1, "audiocaps/val": 5, "clotho/train": 5, "clotho/val": 5}  # captions in a row
IMAGE_WIDTH = 1024  # of CLIP's tokens, as the configurations name it
COMMIT = "0" * 40


def hub_folder(root: Path, name: str) -> Path:
    """Where the Hugging Face cache `root/hub` has a model of this name."""
    folder = root / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def copy(name: str, folder: Path, pattern: str = "*") -> None:
    """A model of the miniature, or its files of these names."""
    for path in (MINIATURE / name).glob(pattern):
        shutil.copy(path, folder)


def write_llava(folder: Path) -> None:
    """Of one layer, with image tokens of full width, 62 free rows of the table of words, in half precision."""
    processor = AutoProcessor.from_pretrained(MINIATURE / "llava")
    processor.patch_size = 14
    processor.image_processor.crop_size = {"height": 56, "width": 56}
    processor.image_processor.size = {"shortest_edge": 56}
    processor.save_pretrained(folder)
    vision = CLIPVisionConfig(
        hidden_size=IMAGE_WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=16, image_size=56,
        patch_size=14, projection_dim=64,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(processor.tokenizer) + 62, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=1024, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=4, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=16, pad_token_id=0,
    )  # fmt: skip
    LlavaForConditionalGeneration(config).half().save_pretrained(folder, max_shard_size="2MB")


def write_hub(root: Path) -> None:
    """The models that are named by a hub id."""
    write_llava(hub_folder(root, "llava-hf/llava-1.5-7b-hf"))
    write_blip2(hub_folder(root, "Salesforce/blip2-opt-2.7b"))
    for name in ("gpt2", "gpt2-medium"):
        copy("gpt2", hub_folder(root, name))
    bert = hub_folder(root, "bert-base-uncased")
    copy("clap", bert, "tokenizer*")
    BertConfig().save_pretrained(bert)
    opt = hub_folder(root, "facebook/opt-1.3b")
    copy("gpt2", opt, "tokenizer*")
    words = AutoTokenizer.from_pretrained(MINIATURE / "gpt2")
    model = OPTForCausalLM(
        OPTConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, ffn_dim=16, num_attention_heads=2,
                  max_position_embeddings=64, word_embed_proj_dim=16)
    )  # fmt: skip
    model.config.save_pretrained(opt)
    torch.save(model.state_dict(), opt / "pytorch_model.bin")  # there is no other form of it
    distilbert = hub_folder(root, "distilbert-base-uncased")
    copy("clap", distilbert, "tokenizer*")
    size = len(AutoTokenizer.from_pretrained(MINIATURE / "clap"))
    config = DistilBertConfig(vocab_size=size, dim=16, hidden_dim=16, n_layers=1, n_heads=2)
    DistilBertForMaskedLM(config).save_pretrained(distilbert)
    write_clip_tokenizer(hub_folder(root, "openai/clip-vit-large-patch14"))


def write_clip_tokenizer(folder: Path) -> int:
    """The world's words, between a start and an end; the number of tokens."""
    texts = sorted({word for group in sentences() for line in group for word in line.split()})
    known = {word: i for i, word in enumerate(["<pad>", "<start>", "<end>", *texts])}
    inner = Tokenizer(models.WordLevel(known, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("<start>", 1), ("<end>", 2)]
    inner.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<end>").save_pretrained(folder)
    CLIPConfig().save_pretrained(folder)
    return len(known)


def write_checkpoints(folder: Path) -> None:
    """The authors' files."""
    folder.mkdir()
    cav_mae = authors_weights(authors_layout("CAVMAE", width=64, depth=2, num_tokens=32))
    torch.save({f"module.{name}": value for name, value in cav_mae.items()}, folder / "audio_model.21.pth")
    shapes = layout(64, 1, 64, 1, 2000)
    torch.save({name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}, folder / "imagebind_huge.pth")
    torch.save(file_of(cnn14(), 2048, {"json_files": ["BBC/bbc.json"]}), folder / "WavCaps-CNN14.pt")
    torch.save(file_of(htsat(), 768, {"json_files": ["BBC/bbc.json"]}), folder / "HTSAT-BERT-PT.pt")


def write_data(folder: Path) -> None:
    """Shards, tables as WavCaps has them, sentences and AudioSet's classes."""
    for split, number in CLIPS.items():
        ensure_split(folder / "clips", split, max_clips=number)
        (folder / split).parent.mkdir(exist_ok=True)
        if split not in ("clotho/train", "clotho/val"):  # which are read as tables alone
            shutil.copytree(folder / "clips" / split, folder / split)
    for split, number in TABLES.items():
        names = ["caption"] if number == 1 else [f"caption_{i}" for i in range(1, number + 1)]
        with open(folder / f"{split}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", *names])
            for record in records(read_index(folder / "clips" / split)):
                writer.writerow([f"Y{record['id']}.wav", *(record["captions"] * number)[:number]])
    (folder / "audibility").mkdir()
    for name, lines in zip(("audible", "notAudible"), sentences()):
        (folder / "audibility" / f"{name}.txt").write_text("\n" + "\n".join(lines[:80]) + "\n")
    things = (MINIATURE / "keywords.txt").read_text().split("\n")
    rows = [f'{i},/m/{i},"{thing}"\n' for i, thing in enumerate(filter(None, things))]
    (folder / "class_labels_indices.csv").write_text("index,mid,display_name\n" + "".join(rows))
    shutil.rmtree(folder / "clips")


def write_all(root: Path) -> None:
    """All of it."""
    torch.manual_seed(0)
    write_hub(root)
    write_checkpoints(root / "checkpoints")
    write_data(root / "data")
    shown = {str(path.relative_to(root)): path.stat().st_size for path in sorted(root.rglob("*")) if path.is_file()}
    print(json.dumps({"files": len(shown), "bytes": sum(shown.values())}))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]))
