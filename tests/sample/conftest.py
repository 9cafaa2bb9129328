"""Tiny untrained models of the real classes."""

from __future__ import annotations

import pytest
import torch

from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import Diffusion, build_diffusion
from pipelines.models.new_prior import build_prior
from pipelines.models.prior import Prior
from pipelines.sample.bundle import Bundle
from pipelines.scenes.factors import SHAPES
from pipelines.scenes.generate import scene_of
from pipelines.workspace.settings import DiffusionSettings, PriorSettings

KINDS = ("boxes", "palette")


@pytest.fixture(scope="session")
def tiny_prior() -> Prior:
    """A prior of one layer and width 32 over boxes and palette."""
    torch.manual_seed(0)
    settings = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=KINDS)
    captions = [scene_of(0, index)[1] for index in range(200)]
    prior = build_prior(settings, train_tokenizer(captions, 1500), SHAPES)
    prior.model.eval()
    return prior


@pytest.fixture(scope="session")
def tiny_diffusion(tiny_prior) -> Diffusion:
    """A diffusion model of 16 pixels a side whose output depends on its condition."""
    torch.manual_seed(1)
    settings = DiffusionSettings(image_size=16, layers=1, heads=2, head_dim=8, patch_size=4)
    model = build_diffusion(settings, tiny_prior, KINDS)
    torch.nn.init.normal_(model.denoiser.proj_out.out.weight, std=0.3)
    return model.eval()


@pytest.fixture(scope="session")
def bundle(tiny_prior, tiny_diffusion) -> Bundle:
    """Both together."""
    return Bundle(tiny_prior, tiny_diffusion, "kaleido", "workspace")
