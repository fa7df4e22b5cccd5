"""The authors' file of ImageBind, `imagebind_huge.pth`, read for its audio and text towers."""

from pathlib import Path

from torch import Tensor

from lightning_modules.networks.authors_checkpoint import check_tensors, read_checkpoint, tensors_in

WHAT = "ImageBind's audio and text towers"
WHERE = "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth (CC BY-NC-SA 4.0)"
NAMES = {  # theirs: ours
    "modality_preprocessors.audio.cls_token": "audio.cls_token",
    "modality_preprocessors.audio.rgbt_stem.proj.weight": "audio.proj.weight",
    "modality_preprocessors.audio.rgbt_stem.norm_layer.weight": "audio.stem_norm.weight",
    "modality_preprocessors.audio.rgbt_stem.norm_layer.bias": "audio.stem_norm.bias",
    "modality_preprocessors.audio.pos_embedding_helper.pos_embed": "audio.pos_embed",
    "modality_heads.audio.0.weight": "audio.norm.weight",
    "modality_heads.audio.0.bias": "audio.norm.bias",
    "modality_heads.audio.2.weight": "audio.head.weight",
    "modality_preprocessors.text.token_embedding.weight": "text.token_embedding.weight",
    "modality_preprocessors.text.pos_embed": "text.pos_embed",
    "modality_heads.text.proj.0.weight": "text.norm.weight",
    "modality_heads.text.proj.0.bias": "text.norm.bias",
    "modality_heads.text.proj.1.weight": "text.head.weight",
}
BLOCK = {
    **{f"{layer}.{kind}": f"{ours}.{kind}" for layer, ours in (("norm_1", "norm1"), ("norm_2", "norm2"),
       ("mlp.fc1", "mlp.fc1"), ("mlp.fc2", "mlp.fc2"), ("attn.out_proj", "attn.proj")) for kind in ("weight", "bias")},
    "attn.in_proj_weight": "attn.qkv.weight",
    "attn.in_proj_bias": "attn.qkv.bias",
}  # fmt: skip
BIAS = {"attn.bias_k": "attn.bias_k", "attn.bias_v": "attn.bias_v"}  # of the audio tower
# the causal mask, and factors that are void in a cosine
LEFT_OUT = ("modality_preprocessors.text.mask", "modality_postprocessors.")


def read_towers(path: str | Path) -> tuple[dict[str, dict[str, int]], dict[str, Tensor]]:
    """Sizes of the towers, "audio" and "text", by their names in the classes, and the weights by ours.

    Raises:
        InputError: no such file, another kind of file, or a tensor missing or left over.
    """
    found = tensors_in(read_checkpoint(path, WHAT, WHERE))
    theirs = {name: value for name, value in found.items() if name.split(".")[1:2] in (["audio"], ["text"])}
    theirs = {name: value for name, value in theirs.items() if not name.startswith(LEFT_OUT)}
    depths = {
        tower: len({name.split(".")[3] for name in theirs if name.startswith(f"modality_trunks.{tower}.blocks.")})
        for tower in ("audio", "text")
    }
    names = dict(NAMES)
    for tower, depth in depths.items():
        for i in range(max(1, depth)):
            inner = BLOCK | (BIAS if tower == "audio" else {})
            for name, ours in inner.items():
                names[f"modality_trunks.{tower}.blocks.{i}.{name}"] = f"{tower}.blocks.{i}.{ours}"
    check_tensors(theirs, dict.fromkeys(names), path, WHAT)
    state = {ours: theirs[name] for name, ours in names.items()}
    vocabulary, width = state["text.token_embedding.weight"].shape
    both = {tower: {"depth": depths[tower], "embedding_dim": len(state[f"{tower}.head.weight"])} for tower in depths}
    sizes = {
        "audio": {"width": state["audio.cls_token"].shape[-1], **both["audio"]},
        "text": {"width": width, "vocab_size": vocabulary, "context": state["text.pos_embed"].shape[1], **both["text"]},
    }
    return sizes, state
