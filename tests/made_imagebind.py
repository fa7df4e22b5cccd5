"""ImageBind's file in the authors' layout: names and shapes."""


def layout(audio: int, audio_depth: int, text: int, text_depth: int, vocabulary: int, out: int = 1024) -> dict:
    """Names and shapes of the file, as its authors' code makes them."""
    pre, head = "modality_preprocessors", "modality_heads"
    shapes: dict[str, tuple[int, ...]] = {
        f"{pre}.text.token_embedding.weight": (vocabulary, text), f"{pre}.text.pos_embed": (1, 77, text),
        f"{pre}.text.mask": (77, 77), f"{pre}.audio.cls_token": (1, 1, audio),
        f"{pre}.audio.rgbt_stem.proj.weight": (audio, 1, 16, 16),
        f"{pre}.audio.rgbt_stem.norm_layer.weight": (audio,), f"{pre}.audio.rgbt_stem.norm_layer.bias": (audio,),
        f"{pre}.audio.pos_embedding_helper.pos_embed": (1, 229, audio),
        f"{head}.audio.0.weight": (audio,), f"{head}.audio.0.bias": (audio,), f"{head}.audio.2.weight": (out, audio),
        f"{head}.text.proj.0.weight": (text,), f"{head}.text.proj.0.bias": (text,),
        f"{head}.text.proj.1.weight": (out, text),
        "modality_postprocessors.text.1.log_logit_scale": (), "modality_postprocessors.audio.1.log_logit_scale": (),
        f"{pre}.vision.cls_token": (1, 1, 8), "modality_trunks.vision.blocks.0.norm_1.weight": (8,),
    }  # fmt: skip
    for tower, d, depth in (("audio", audio, audio_depth), ("text", text, text_depth)):
        for i in range(depth):
            b = f"modality_trunks.{tower}.blocks.{i}"
            shapes |= {
                f"{b}.attn.in_proj_weight": (3 * d, d), f"{b}.attn.in_proj_bias": (3 * d,),
                f"{b}.attn.out_proj.weight": (d, d), f"{b}.attn.out_proj.bias": (d,),
                f"{b}.mlp.fc1.weight": (4 * d, d), f"{b}.mlp.fc1.bias": (4 * d,),
                f"{b}.mlp.fc2.weight": (d, 4 * d), f"{b}.mlp.fc2.bias": (d,),
                **{f"{b}.norm_{n}.{kind}": (d,) for n in (1, 2) for kind in ("weight", "bias")},
            }  # fmt: skip
            if tower == "audio":
                shapes |= {f"{b}.attn.bias_k": (1, 1, d), f"{b}.attn.bias_v": (1, 1, d)}
    return shapes
