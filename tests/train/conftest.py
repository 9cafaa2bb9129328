"""A small workspace with scenes, palettes and trained models, made once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core.stage import Ok, Stage, StageSpec
from pipelines.extract.run import extract
from pipelines.latents.boxes import Box, Boxes
from pipelines.scenes.generate import write_scenes
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
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


@pytest.fixture(scope="session")
def _trained(trained_on, tmp_path_factory) -> Workspace:
    """The same with a prior, a diffusion model and a baseline, trained for twelve steps each."""
    workspace = _copy(trained_on, tmp_path_factory.mktemp("trained"))
    train_prior(workspace)
    train_diffusion(workspace)
    train_diffusion(workspace, baseline=True)
    return workspace


@pytest.fixture
def trained(_trained, tmp_path) -> Workspace:
    """A copy of the workspace with trained models."""
    return _copy(_trained, tmp_path)


@pytest.fixture
def fresh(trained_on, tmp_path) -> Workspace:
    """A copy of the data and the palettes, without models."""
    return _copy(trained_on, tmp_path)


def _copy(workspace: Workspace, folder: Path) -> Workspace:
    root = folder / "workspace"
    shutil.copytree(workspace.root, root)
    return replace(workspace, root=root)


def adapt(workspace: Workspace, **changes) -> Workspace:
    """Return a workspace with other settings, named as ``section__key``."""
    renamed = {key.replace("__", "."): value for key, value in changes.items()}
    return replace(workspace, settings=override(workspace.settings, renamed))


class OwnLabel(Stage):
    """A detector that finds in every image a thing of its own kind."""

    spec = StageSpec("own label", 1, "boxes")

    def __call__(self, records):
        return [Ok(Boxes((Box(record.key, 0, 0, 500, 500),))) for record in records]
