"""Tiny vision-language models of the real classes, with tokenizers of single characters."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

TEXT = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
SQUARE = {"height": 32, "width": 32}
CHAT = (
    "{% for message in messages %}<|im_start|>user\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen2(folder: Path) -> None:
    """Qwen2-VL: patches of 14 pixels, of which 2 x 2 are merged."""
    _qwen(folder, "Qwen2VL", {"embed_dim": 16, "hidden_size": 16, "depth": 1, "mlp_ratio": 1})


def qwen25(folder: Path) -> None:
    """Qwen2.5-VL, likewise."""
    vision = {"hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 16, "depth": 1}
    _qwen(folder, "Qwen2_5_VL", vision | {"fullatt_block_indexes": [0]})


def qwen3(folder: Path) -> None:
    """Qwen3-VL: patches of 16 pixels."""
    vision = {"hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 16, "depth": 1}
    more = {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    _qwen(folder, "Qwen3VL", vision | more, patch=16, head_dim=8)


def _qwen(folder: Path, name: str, vision: dict, patch: int = 14, **text: int) -> None:
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    marks += ["<|image_pad|>", "<|video_pad|>", "<|object_ref_start|>", "<|object_ref_end|>"]
    marks += ["<|box_start|>", "<|box_end|>"]
    tokenizer = _bytes(marks, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    ids = {mark: tokenizer.convert_tokens_to_ids(mark) for mark in marks}
    config = getattr(tf, f"{name}Config")(
        text_config=TEXT
        | text
        | {
            "vocab_size": len(tokenizer),
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 1, 1],
            },
        },
        vision_config=vision | {"num_heads": 2, "patch_size": patch, "spatial_merge_size": 2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    size = {"shortest_edge": (4 * patch) ** 2, "longest_edge": (8 * patch) ** 2}
    options = {"patch_size": patch, "merge_size": 2, "size": size}
    video = "Qwen3VLVideoProcessor" if name == "Qwen3VL" else "Qwen2VLVideoProcessor"
    processor = getattr(tf, f"{name}Processor")(
        tf.Qwen2VLImageProcessor(**options),
        tokenizer,
        getattr(tf, video)(**options),
        chat_template=CHAT,
    )
    _save(folder, getattr(tf, f"{name}ForConditionalGeneration"), config, processor)


def florence(folder: Path) -> None:
    """Florence-2: an encoder and decoder of BART behind DaViT."""
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<image>", *(f"<loc_{i}>" for i in range(1000))]
    tokenizer = _bytes(
        marks,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    text = {
        "vocab_size": len(tokenizer),
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
    }
    vision = {
        "depths": [1],
        "patch_size": [7],
        "patch_stride": [8],
        "patch_padding": [3],
        "patch_prenorm": [False],
        "embed_dim": [16],
        "num_heads": [2],
        "num_groups": [2],
        "window_size": 2,
        "projection_dim": 16,
    }
    config = tf.Florence2Config(
        text_config={"model_type": "bart"} | text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    images = tf.CLIPImageProcessor(size=SQUARE, do_center_crop=False)
    # 4 x 4 places of the picture, and their mean.
    images.image_seq_length = 17
    processor = tf.Florence2Processor(images, tokenizer)
    _save(folder, tf.Florence2ForConditionalGeneration, config, processor)


def paligemma(folder: Path) -> None:
    """PaliGemma: Gemma behind SigLIP."""
    marks = ["<pad>", "<eos>", "<bos>", "<unk>", "<image>"]
    tokenizer = _pieces(
        marks,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    images = tf.SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 4
    processor = tf.PaliGemmaProcessor(images, tokenizer)  # adds the tokens of places
    vocabulary = len(processor.tokenizer)
    text = {"vocab_size": vocabulary, "head_dim": 8, "pad_token_id": 0}
    vision = {key: TEXT[key] for key in TEXT if key != "num_key_value_heads"}
    config = tf.PaliGemmaConfig(
        text_config={"model_type": "gemma", "bos_token_id": 2, "eos_token_id": 1} | TEXT | text,
        vision_config={"model_type": "siglip_vision_model", "image_size": 32, "patch_size": 16}
        | vision
        | {"vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=16,
        hidden_size=16,
        vocab_size=vocabulary,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    _save(folder, tf.PaliGemmaForConditionalGeneration, config, processor)


def kosmos(folder: Path) -> None:
    """Kosmos-2; its processor cuts pictures to squares, as CLIP's does by default."""
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = _pieces(
        marks, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    images = tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SQUARE)
    processor = tf.Kosmos2Processor(images, tokenizer)  # adds the tokens of places
    vision = {key: TEXT[key] for key in TEXT if key != "num_key_value_heads"}
    config = tf.Kosmos2Config(
        text_config={
            "vocab_size": len(processor.tokenizer),
            "embed_dim": 16,
            "layers": 1,
            "ffn_dim": 16,
            "attention_heads": 2,
        },
        vision_config=vision | {"image_size": 32, "patch_size": 16},
    )
    _save(folder, tf.Kosmos2ForConditionalGeneration, config, processor)


MODELS = {
    "qwen2-vl": qwen2,
    "qwen2.5-vl": qwen25,
    "qwen3-vl": qwen3,
    "florence-2": florence,
    "paligemma": paligemma,
    "kosmos-2": kosmos,
}
"""Family -> what saves such a model and its processor."""


def _bytes(marks: list[str], **options) -> tf.PreTrainedTokenizerFast:
    """A tokenizer of bytes, as Qwen's and BART's are."""
    inner = _tokenizer(marks, sorted(pre_tokenizers.ByteLevel.alphabet()))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, **options)


def _pieces(marks: list[str], **options) -> tf.PreTrainedTokenizerFast:
    """A tokenizer with a visible space, as those of SentencePiece are."""
    inner = _tokenizer(marks, ["▁", "\n", *(chr(code) for code in range(33, 127))])
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, **options)


def _tokenizer(marks: list[str], letters: list[str]) -> Tokenizer:
    vocabulary = {token: i for i, token in enumerate([*marks, *letters])}
    inner = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    inner.add_special_tokens(marks)
    return inner


def _save(folder: Path, network, config, processor) -> None:
    torch.manual_seed(0)
    network(config).save_pretrained(folder)
    processor.save_pretrained(folder)
