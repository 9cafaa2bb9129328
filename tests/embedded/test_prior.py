"""Measuring a prior of scenes: what must hold even of an untrained one, and what must not."""

from __future__ import annotations

import torch

from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.new_prior import build_prior
from pipelines.scenes.factors import SHAPES
from pipelines.scenes.generate import scene_of
from pipelines.workspace.settings import PriorSettings
from recipes.measure_prior import measure


def test_an_untrained_prior_parses_but_does_not_agree() -> None:
    torch.manual_seed(0)
    settings = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=("boxes",))
    tokenizer = train_tokenizer([scene_of(0, index)[1] for index in range(200)], 1500)
    prior = build_prior(settings, tokenizer, SHAPES)
    prior.model.eval()
    found = measure(prior, seed=0, draws=32)
    assert found["draws"] == 32
    assert found["parse"] == 1.0  # the grammar's doing
    assert found["distinct"] == 1.0
    assert found["agree"] < 0.5
    assert found["tokens"] > 5
    assert measure(prior, seed=0, draws=32) == found
    sound = measure(prior, 0, 32, ("boxes",), sound=True)
    assert sound["parse"] == 1.0 and 0.0 <= sound["loops"] < 0.5
