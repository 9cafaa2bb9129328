"""Tiny priors: one of our own, and a flan-T5 as the hub has them."""

from __future__ import annotations

import json
import string
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

from pipelines.latents.text import NUMBERS
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.new_prior import build_prior, load_pretrained
from pipelines.models.prior import Prior
from pipelines.workspace.settings import PriorSettings

SETTINGS = PriorSettings(d_model=16, d_ff=16, layers=1, heads=2, z_kinds=("boxes", "palette"))


@pytest.fixture(scope="module")
def prior() -> Prior:
    """A tiny untrained one over boxes and palette."""
    torch.manual_seed(0)
    return build_prior(SETTINGS, train_tokenizer(["a red circle"], 1500), ("circle",))


KNOWN = ("▁", "▁a", "▁red", "▁circle", *string.ascii_letters, *string.digits, *string.punctuation)
ROWS = 160
"""Of the matrices of `flan`: more than its tokenizer has tokens, as in every published T5."""


@pytest.fixture
def flan(tmp_path) -> Path:
    """A tiny flan-T5 as the hub has them: a head of its own, gated GELU, a padded vocabulary."""
    torch.manual_seed(1)
    base = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary = base + [(piece, -2.0 - 0.01 * at) for at, piece in enumerate(KNOWN)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=10)
    assert len(tokenizer) < ROWS < len(tokenizer) + len(NUMBERS)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 2, "num_heads": 2}
    config = T5Config(
        vocab_size=ROWS,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        **sizes,
    )
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(0.1 * torch.randn(ROWS, 16) - 0.2)
    model.config.tie_word_embeddings = False
    folder = tmp_path / "flan"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    del values["scale_decoder_outputs"]  # transformers 4 wrote none
    path.write_text(json.dumps(values))
    return folder


def load_base(folder: Path, **changes) -> Prior:
    """Load a pretrained T5 with `SETTINGS`, some of them changed."""
    return load_pretrained(replace(SETTINGS, pretrained=str(folder), **changes), ())
