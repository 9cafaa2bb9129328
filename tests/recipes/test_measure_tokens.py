"""Local ids are told from others."""

from __future__ import annotations

import numpy as np
import torch

from pipelines.models.tokenizer import build_tokenizer
from pipelines.workspace.settings import TokenizerSettings
from recipes.measure_tokens import locality


def _measured(quantizer: str) -> dict[str, float]:
    torch.manual_seed(0)
    settings = TokenizerSettings(quantizer=quantizer, channels=(8, 16), codebook_size=64)
    tokenizer = build_tokenizer(settings, 64)
    if quantizer == "vq":
        torch.nn.init.normal_(tokenizer.model.quantize.embedding.weight, std=0.5)
    tokenizer.model.eval()
    return locality(tokenizer, np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8))


def test_norms_over_the_map_are_seen() -> None:
    whole, local = _measured("vq"), _measured("fsq")
    assert local["changed_afar"] == 0.0 < whole["changed_afar"]
    assert local["ids_of_paper"] == 1.0
    assert all(0.0 <= share <= 1.0 for name, share in local.items() if name != "ids_of_paper")
