"""The nested U-Net as the denoiser: it learns, resumes, and draws at both resolutions."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.images import decode_image
from pipelines.models.denoiser.nested import NestedUNet2DModel
from pipelines.models.diffusion import Diffusion
from pipelines.train.diffusion import MIN_SIGMA, drawing_error, train_diffusion
from pipelines.train.footprint import diffusion_footprint
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import adapt
from tests.train.stopper import Stopper

TINY = {
    "architecture": "nested-unet",
    "outer_channels": (8, 16),
    "outer_blocks": (1, 1),
    "inner_channels": (16, 16),
    "inner_blocks": (1, 1),
    "inner_attention": (0, 1),
    "precision": "fp32",
}


@pytest.fixture
def nested(trained) -> Workspace:
    """Settings of a tiny nested U-Net for 16 pixels and 8."""
    return adapt(trained, **{f"diffusion__{key}": value for key, value in TINY.items()})


def _weights(workspace: Workspace) -> dict[str, torch.Tensor]:
    return Diffusion.load(workspace.models("diffusion")).state_dict()


def test_it_learns_resumes_and_draws_both_sizes(nested, invoke, monkeypatch, tmp_path) -> None:
    longer = adapt(nested, diffusion__steps=60, diffusion__learning_rate=4e-3)
    train_diffusion(longer, restart=True)
    rows = [json.loads(x) for x in (longer.logs / "diffusion/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]
    model = Diffusion.load(longer.models("diffusion"))
    assert isinstance(model.denoiser, NestedUNet2DModel) and model.sizes == ((16, 16), (8, 8))
    monkeypatch.chdir(longer.root)
    for size in ("16", "8"):
        invoke("sample", "a red circle", "--n", "1", "--steps", "2", "--name", size, "--size", size)
        (row,) = (longer.root / f"samples/{size}/samples.jsonl").read_text().splitlines()
        path = longer.root / f"samples/{size}" / json.loads(row)["file"]
        assert decode_image(path.read_bytes()).shape == (int(size), int(size), 3)
    again = replace(longer, root=tmp_path / "again")
    shutil.copytree(longer.root, again.root, ignore=shutil.ignore_patterns("logs", "diffusion"))
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(again, progress=Stopper(23))
    assert train_diffusion(again).resumed_at == 23
    whole = _weights(longer)
    assert all(torch.equal(value, whole[name]) for name, value in _weights(again).items())


def test_the_loss_is_that_of_every_resolution() -> None:
    images, sigma = torch.rand(3, 3, 8, 8), torch.tensor([0.2, 0.5, 0.9])
    full, small = images + 0.1, torch.nn.functional.avg_pool2d(images, 2) - 0.2
    low = sigma / (2 - sigma)  # half the odds
    weights = [(1 - level).sqrt() / level.clamp(min=MIN_SIGMA) for level in (sigma, low)]
    wanted = 0.01 * weights[0].mean() + 0.04 * weights[1].mean()
    torch.testing.assert_close(drawing_error([full, small], images, sigma), wanted)
    alone = drawing_error([full], images, sigma)
    torch.testing.assert_close(alone, 0.01 * weights[0].mean())


def test_a_checkpoint_of_the_other_network_is_refused(nested) -> None:
    with pytest.raises(KaleidoError) as caught:  # the trained transformer's
        train_diffusion(nested)
    assert caught.value.code == "model-mismatch"


def test_its_plan_counts_it(nested) -> None:
    plan = diffusion_footprint(nested)
    train_diffusion(adapt(nested, diffusion__steps=1), restart=True)
    model = Diffusion.load(nested.models("diffusion"))
    assert plan.parameters == sum(value.numel() for value in model.parameters())
    saved = diffusion_footprint(adapt(nested, train__gradient_checkpointing="on"))
    assert 0 < saved.memory["activations"] < plan.memory["activations"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"inner_attention": (1,)}, "inner_attention"),
        ({"heads": 3}, "heads"),
        ({"outer_channels": (8, 12)}, "outer_channels"),
        ({"image_size": 18}, "image_size"),
    ],
)
def test_sizes_that_do_not_fit_are_named(nested, changes, named) -> None:
    wrong = adapt(nested, **{f"diffusion__{key}": value for key, value in changes.items()})
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(wrong)
    assert caught.value.code == "bad-setting" and named in caught.value.what
