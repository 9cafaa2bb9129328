"""Detectors that have learnt nothing: YOLO by the recipe's export, and transformers' classes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as tf
from tokenizers import Tokenizer
from tokenizers.models import BPE

from recipes.train_detector import export, new_model

NAMES = {"id2label": {0: "cat", 1: "dog"}, "label2id": {"cat": 0, "dog": 1}}
SIZE = {"height": 64, "width": 64}
TINY = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
DECODER = {
    "hidden_size": 16,
    "mlp_dim": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "red", "disc", "square", "a"]


@pytest.fixture(scope="session")
def untrained(tmp_path_factory) -> Path:
    """Return the folder of an untrained detector."""
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)  # the same weights, whatever ran before
    export(folder, new_model(), images=0, seed=0)
    return folder


@pytest.fixture(scope="session")
def rtdetr(tmp_path_factory):
    """Finds boxes of cats and dogs."""
    backbone = tf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )
    config = tf.RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[8, 8, 8],
        decoder_in_channels=[16, 16, 16],
        d_model=16,
        encoder_hidden_dim=16,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        decoder_layers=1,
        num_queries=6,
        num_denoising=0,
        **NAMES,
    )
    processor = tf.RTDetrImageProcessor(size=SIZE)
    return _save(tmp_path_factory, tf.RTDetrForObjectDetection, config, processor)


@pytest.fixture(scope="session")
def mask2former(tmp_path_factory):
    """Finds masks of cats and dogs."""
    config = tf.Mask2FormerConfig(
        backbone_config=_swin(["stage1", "stage2", "stage3", "stage4"]),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=5,
        **NAMES,
    )
    processor = tf.Mask2FormerImageProcessor(size=SIZE)
    return _save(tmp_path_factory, tf.Mask2FormerForUniversalSegmentation, config, processor)


@pytest.fixture(scope="session")
def grounding_dino(tmp_path_factory):
    """Finds boxes of what it is asked for."""
    text = tf.BertConfig(
        vocab_size=len(WORDS),
        **TINY,
        max_position_embeddings=64,
    )
    config = tf.GroundingDinoConfig(
        backbone_config=_swin(["stage2", "stage3", "stage4"]),
        text_config=text.to_dict(),
        num_queries=6,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_text_len=16,
        num_feature_levels=4,
    )
    processor = tf.GroundingDinoProcessor(
        tf.GroundingDinoImageProcessor(size={"shortest_edge": 128, "longest_edge": 128}),
        _words(),
    )
    return _save(tmp_path_factory, tf.GroundingDinoForObjectDetection, config, processor)


@pytest.fixture(scope="session")
def owlv2(tmp_path_factory):
    """Likewise, of another architecture."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    marks = ["!", *letters, *(f"{letter}</w>" for letter in letters)]
    marks += ["<|startoftext|>", "<|endoftext|>"]
    config = tf.Owlv2Config(
        text_config=TINY
        | {
            "vocab_size": len(marks),
            "max_position_embeddings": 16,
            "bos_token_id": len(marks) - 2,
            "eos_token_id": len(marks) - 1,
        },
        vision_config=TINY | {"image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    tokenizer = tf.CLIPTokenizer(
        vocab={mark: i for i, mark in enumerate(marks)},
        merges=[],
        pad_token="!",
        model_max_length=16,
    )
    processor = tf.Owlv2Processor(tf.Owlv2ImageProcessor(size=SIZE), tokenizer)
    return _save(tmp_path_factory, tf.Owlv2ForObjectDetection, config, processor)


@pytest.fixture(scope="session")
def sam(tmp_path_factory):
    """Draws a mask in each box."""
    vision = TINY | {"output_channels": 16, "image_size": 64, "patch_size": 16, "window_size": 2}
    config = tf.SamConfig(
        vision_config=vision | {"num_pos_feats": 8, "global_attn_indexes": [0]},
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16},
        mask_decoder_config=DECODER,
    )
    size = {"size": {"longest_edge": 64}, "pad_size": SIZE}
    processor = tf.SamProcessor(
        tf.SamImageProcessor(**size, mask_size={"longest_edge": 16}, mask_pad_size=SIZE)
    )
    return _save(tmp_path_factory, tf.SamModel, config, processor)


@pytest.fixture(scope="session")
def sam2(tmp_path_factory):
    """Likewise, of another architecture."""
    backbone = tf.Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        window_positional_embedding_background_size=[4, 4],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[8, 4, 4, 2],
        global_attention_blocks=[3],
    )
    vision = tf.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
    )
    config = tf.Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16},
        mask_decoder_config=DECODER,
    )
    processor = tf.Sam2Processor(
        tf.Sam2ImageProcessor(size=SIZE, mask_size={"height": 16, "width": 16})
    )
    return _save(tmp_path_factory, tf.Sam2Model, config, processor)


def _words():
    """A tokenizer that knows `WORDS`."""
    return tf.BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})


def _swin(stages):
    return tf.SwinConfig(
        image_size=32,
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2,
        out_features=stages,
    )


def _save(tmp_path_factory, network, config, processor):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(network.__name__)
    network(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def blip(tmp_path_factory):
    """Begins from the picture alone."""
    text = TINY | {
        "vocab_size": len(WORDS),
        "encoder_hidden_size": 16,
        "max_position_embeddings": 256,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "pad_token_id": 0,
    }
    config = tf.BlipConfig(text_config=text, vision_config=TINY | {"image_size": 32})
    processor = tf.BlipProcessor(tf.BlipImageProcessor(size={"height": 32, "width": 32}), _words())
    return _save(tmp_path_factory, tf.BlipForConditionalGeneration, config, processor)


CHAT = (
    "{% for message in messages %}<user>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}</user>{% endfor %}<bot>"
)


SIZE_OF_WORDS = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


def _letters():
    """A tokenizer of single characters, with the marks of `CHAT`."""
    letters = [chr(code) for code in range(32, 127)]
    marks = ["<pad>", "<s>", "</s>", "<image>", "<user>", "</user>", "<bot>"]
    vocabulary = {token: i for i, token in enumerate([*marks, *letters])}
    inner = Tokenizer(BPE(vocab=vocabulary, merges=[], unk_token=" "))
    inner.add_special_tokens(marks)
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=marks[3:],
    )


@pytest.fixture(scope="session")
def llama(tmp_path_factory):
    """Sees no pictures, and is asked in a chat."""
    tokenizer = _letters()
    tokenizer.chat_template = (
        "{% for message in messages %}<user>{{ message['content'] }}</user>{% endfor %}<bot>"
    )
    config = tf.LlamaConfig(
        **SIZE_OF_WORDS,
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    return _save(tmp_path_factory, tf.LlamaForCausalLM, config, tokenizer)


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """Is asked by a prompt, in a chat."""
    tokenizer, size = _letters(), SIZE_OF_WORDS
    vocabulary = tokenizer.get_vocab()
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**size, image_size=32, patch_size=16),
        text_config=tf.LlamaConfig(
            **size,
            vocab_size=len(vocabulary),
            num_key_value_heads=2,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
        image_token_index=vocabulary["<image>"],
    )
    processor = tf.LlavaProcessor(
        tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return _save(tmp_path_factory, tf.LlavaForConditionalGeneration, config, processor)
