"""What a training run needs, estimated before it starts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.files import METADATA
from pipelines.core.sizes import bytes_in
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.train.footprint import (
    diffusion_footprint,
    prior_footprint,
    saved_bytes,
    tokenizer_footprint,
)
from pipelines.workspace.config import write_toml


def test_parameters_and_disk_are_those_of_the_trained_models(trained) -> None:
    models = {
        "prior": (prior_footprint(trained), Prior.load(trained.models("prior")).model),
        "diffusion": (diffusion_footprint(trained), Diffusion.load(trained.models("diffusion"))),
    }
    for name, (told, model) in models.items():
        assert told.parameters == sum(value.numel() for value in model.parameters())
        folder = trained.logs / name / "checkpoint"
        assert told.checkpoint == pytest.approx(bytes_in(folder), rel=0.1)
        moments = (folder / "optimizer.safetensors").stat().st_size
        assert told.memory["optimizer"] == pytest.approx(moments, rel=0.1)


def test_a_pretrained_prior_is_counted_from_its_configuration(trained, tmp_path) -> None:
    source = tmp_path / "t5"
    Prior.load(trained.models("prior")).save(source)
    settings = replace(trained.settings.prior, pretrained=str(source))
    pretrained = replace(trained, settings=replace(trained.settings, prior=settings))
    told, scratch = prior_footprint(pretrained), prior_footprint(trained)
    assert told.parameters == scratch.parameters
    assert told.trainable < scratch.trainable  # its encoder is frozen


def test_activations_grow_with_the_batch_and_are_warned_about(trained) -> None:
    small = tokenizer_footprint(trained)
    settings = replace(trained.settings.tokenizer, batch_size=16)
    large = tokenizer_footprint(
        replace(trained, settings=replace(trained.settings, tokenizer=settings))
    )
    assert large.memory["activations"] == pytest.approx(2 * small.memory["activations"], rel=0.05)
    needed = small.memory_needed
    assert not replace(small, memory_free=needed).warning
    assert replace(small, memory_free=needed - 1).warning


def test_sizes_that_do_not_fit_are_named(trained) -> None:
    settings = replace(trained.settings.diffusion, patch_size=3)
    with pytest.raises(KaleidoError) as caught:
        diffusion_footprint(
            replace(trained, settings=replace(trained.settings, diffusion=settings))
        )
    assert caught.value.what == "diffusion.patch_size = 3"


def test_saved_bytes_are_those_that_autograd_keeps() -> None:
    weight = torch.nn.Parameter(torch.zeros(3, 5))
    values = torch.zeros(7, 3)
    assert saved_bytes(lambda: (values @ weight).sigmoid().sum()) == 4 * (7 * 3 + 7 * 5)


@pytest.mark.parametrize(
    ("name", "flags"),
    [("tokenizer", ()), ("prior", ("--z", "palette")), ("diffusion", ("--z", "palette"))],
)
def test_a_dry_run_prints_the_estimate_and_trains_nothing(trained, invoke, name, flags) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*")}
    said = invoke("train", name, *flags, "--dry-run", "--json", "-w", str(trained.root)).out
    found = json.loads(said)
    assert found["name"] == name and 0 < found["trainable"] <= found["parameters"]
    assert found["batches_per_epoch"] == -(-found["records"] // found["batch_size"])
    assert found["memory_needed"] == sum(found["memory"].values())
    assert "Checkpoint" in invoke("train", name, *flags, "--dry-run", "-w", str(trained.root)).out
    assert {path: path.stat().st_mtime_ns for path in trained.root.rglob("*")} == before


def test_a_prior_that_does_not_fit_says_so_before_it_starts(trained, invoke, monkeypatch) -> None:
    exact, rough = prior_footprint(trained), prior_footprint(trained, roughly=True)
    assert rough.memory_needed == pytest.approx(exact.memory_needed, rel=0.1)
    free = exact.memory_needed - exact.memory["activations"] // 2
    monkeypatch.setattr("pipelines.train.footprint.free_memory", lambda device: free)
    monkeypatch.chdir(trained.root)
    (trained.root / "kaleido.toml").write_text(write_toml(trained.settings))
    said = invoke("train", "prior").err
    assert "Warning: prior: training needs about" in said and "--micro-batch" in said
    monkeypatch.setattr("pipelines.train.footprint.free_memory", lambda device: 2**40)
    assert "Warning" not in invoke("train", "prior").err


def test_a_denoiser_is_planned_before_there_is_a_prior(trained, invoke) -> None:
    there = diffusion_footprint(trained)
    (trained.models("prior") / METADATA).unlink()
    planned = diffusion_footprint(trained)
    assert planned.parameters == there.parameters
    assert planned.memory["activations"] == there.memory["activations"]
    where = ("-w", str(trained.root))
    assert "Checkpoint" in invoke("train", "diffusion", "--dry-run", *where).out
    assert "kaleido train prior" in invoke("train", "diffusion", *where, code=1).err
