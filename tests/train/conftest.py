"""A small workspace with scenes and palettes, made once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.extract.run import extract
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.config import override
from pipelines.workspace.workspace import Workspace

SETTINGS = {
    "tokenizer.patch_size": 2,
    "tokenizer.channels": (8, 16),
    "tokenizer.codebook_size": 32,
    "tokenizer.code_dim": 4,
    "tokenizer.steps": 12,
    "tokenizer.decoder_steps": 2,
    "tokenizer.batch_size": 8,
    "tokenizer.warmup": 2,
    "prior.z_kinds": ("palette",),
    "prior.d_model": 32,
    "prior.d_ff": 32,
    "prior.layers": 1,
    "prior.heads": 2,
    "prior.vocab_size": 1500,
    "prior.steps": 12,
    "prior.batch_size": 8,
    "prior.warmup": 2,
    "diffusion.z_kinds": ("palette",),
    "diffusion.layers": 1,
    "diffusion.heads": 2,
    "diffusion.head_dim": 8,
    "diffusion.image_size": 16,
    "diffusion.patch_size": 4,
    "diffusion.pixel_channels": 8,
    "diffusion.steps": 12,
    "diffusion.batch_size": 8,
    "diffusion.warmup": 2,
}


@pytest.fixture(scope="session")
def trained_on(tmp_path_factory) -> Workspace:
    """Forty scenes of 16 pixels with palettes, and settings for tiny models."""
    workspace = Workspace.init(tmp_path_factory.mktemp("train") / "workspace")
    workspace = replace(workspace, settings=override(workspace.settings, SETTINGS))
    write_scenes(workspace, 40, seed=0, size=16, shard_size=20)
    extract(workspace, ("palette",))
    return workspace
