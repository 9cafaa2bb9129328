"""The shipped judge, real pictures as it sees them, and tiny models to draw others."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pipelines.core.settings import DiffusionSettings, PriorSettings
from pipelines.core.workspace import Workspace
from pipelines.data.scenes.factors import SHAPES
from pipelines.data.scenes.generate import scene_of
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.judge import Judge
from pipelines.evaluate.observe import Observed, Source, join, observe, real_of
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import build_diffusion
from pipelines.models.prior import build_prior

KINDS = ("boxes",)
CAPTIONS = ("a circle", "two hearts", "a star and a square", "three ovals")


def look(source: Source, judge: Judge) -> Observed:
    """Observe the captions under two seeds."""
    return join([observe(source, judge, CAPTIONS, seed) for seed in (0, 1)])


@pytest.fixture(scope="session")
def judge() -> Judge:
    """Return the judge that is shipped."""
    return Judge.load(embedded_path("judge"))


@pytest.fixture(scope="session")
def reference(judge) -> Observed:
    """Return twelve real pictures of each caption under two seeds."""
    return look(real_of(12, "reference"), judge)


@pytest.fixture(scope="session")
def data(judge) -> Observed:
    """Return a second such set."""
    return look(real_of(12, "data"), judge)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory) -> Path:
    """Return a folder with tiny untrained models of the real classes, as they are saved."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    small = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=KINDS)
    tokenizer = train_tokenizer([scene_of(0, index)[1] for index in range(200)], 1500)
    prior = build_prior(small, tokenizer, SHAPES)
    prior.save(folder / "prior")
    settings = DiffusionSettings(image_size=16, layers=1, heads=2, head_dim=8, patch_size=4)
    for name, kinds in (("diffusion", KINDS), ("baseline", ())):
        build_diffusion(settings, prior, kinds).save(folder / name)
    return folder


@pytest.fixture
def trained(workspace, tiny_models) -> Workspace:
    """Return a workspace that holds them."""
    shutil.copytree(tiny_models, workspace.root / "models")
    return workspace
