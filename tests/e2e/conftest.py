"""A small workspace with everything in it, for commands that are stopped in the middle."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from pipelines.extract.run import extract
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import build_diffusion
from pipelines.models.new_prior import build_prior
from pipelines.scenes.factors import SHAPES
from pipelines.scenes.generate import scene_of, write_scenes
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace

SETTINGS = {
    "prior.z_kinds": ("palette",),
    "prior.d_model": 32,
    "prior.d_ff": 32,
    "prior.layers": 1,
    "prior.heads": 2,
    "diffusion.z_kinds": ("palette",),
    "diffusion.layers": 1,
    "diffusion.heads": 2,
    "diffusion.head_dim": 8,
    "diffusion.image_size": 16,
    "diffusion.patch_size": 4,
    "diffusion.pixel_channels": 8,
    "diffusion.steps": 6,
    "diffusion.batch_size": 4,
    "diffusion.warmup": 2,
    "sample.steps": 2,
    "sample.n": 3,
    "evaluate.captions": 2,
    "evaluate.n": 2,
    "evaluate.steps": 1,
    "evaluate.cfg": (1.0, 7.5),
    "evaluate.seeds": (0,),
    "evaluate.training": 8,
}


@pytest.fixture(scope="session")
def _complete(tmp_path_factory) -> Workspace:
    settings = override(Settings(), SETTINGS)
    workspace = Workspace.init(tmp_path_factory.mktemp("complete") / "workspace", settings)
    pictures = workspace.root.with_name("pictures")
    pictures.mkdir()
    for number in range(12):
        Image.new("RGB", (16, 16), (number * 20, 0, 0)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text(f"square {number}")
    write_scenes(workspace, 60, seed=3, size=16, shard_size=20)
    extract(workspace, ("palette",))
    torch.manual_seed(0)
    tokenizer = train_tokenizer([scene_of(0, index)[1] for index in range(200)], 1500)
    prior = build_prior(settings.prior, tokenizer, SHAPES)
    prior.save(workspace.models("prior"))
    for name, kinds in (("diffusion", ("palette",)), ("baseline", ())):
        build_diffusion(settings.diffusion, prior, kinds).save(workspace.models(name))
    return workspace


@pytest.fixture
def complete(_complete, tmp_path) -> Workspace:
    """A copy of a workspace with data, palettes and tiny untrained models."""
    return copy_of(_complete, tmp_path / "workspace")


def copy_of(workspace: Workspace, root: Path) -> Workspace:
    """Copy a workspace; the folder of pictures beside it stays one."""
    shutil.copytree(workspace.root, root)
    root.with_name("pictures").symlink_to(workspace.root.with_name("pictures").resolve())
    return replace(workspace, root=root)
