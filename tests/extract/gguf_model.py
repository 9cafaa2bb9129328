"""A tiny Llama with chance weights in a GGUF file, as llama.cpp's converter lays one out."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

WIDTH, HEADS, BLOCKS, CONTEXT = 16, 2, 2, 1024
MARKS = ["<pad>", "<s>", "</s>"]
LETTERS = [*(chr(code) for code in range(33, 127)), "Ġ", "Ċ", "re"]  # a byte-level BPE's
CHAT = "{% for message in messages %}<s>{{ message['content'] }}</s>{% endfor %}"


def write_gguf(path: Path) -> None:
    """Write the file."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    _add_tokenizer(writer)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokens = [*MARKS, *LETTERS]
    kinds = [gguf.TokenType.CONTROL] * len(MARKS) + [gguf.TokenType.NORMAL] * len(LETTERS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["r e"])
    writer.add_pad_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHAT)


def _add_weights(writer: gguf.GGUFWriter) -> None:
    rng, tokens = np.random.default_rng(0), len(MARKS) + len(LETTERS)
    for name, rows in (("token_embd", tokens), ("output", tokens)):
        writer.add_tensor(f"{name}.weight", _chance(rng, rows))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for block in range(BLOCKS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            writer.add_tensor(f"blk.{block}.{name}.weight", _chance(rng, WIDTH))
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", np.ones(WIDTH, np.float32))


def _chance(rng: np.random.Generator, rows: int) -> np.ndarray:
    return rng.normal(0.0, 0.3, (rows, WIDTH)).astype(np.float32)
