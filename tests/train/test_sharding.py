"""Two processes that divide the weights come to what one process comes to, and save the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipelines.core.errors import KaleidoError
from pipelines.train.diffusion import train_diffusion
from pipelines.train.footprint import prior_footprint
from pipelines.train.prior import train_prior
from pipelines.train.ranks import join_ranks
from pipelines.train.sharding import Shards
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import adapt
from tests.train.forked import in_ranks
from tests.train.stopper import Stopper

TRAINERS = {"prior": train_prior, "diffusion": train_diffusion, "tokenizer": train_tokenizer}


@pytest.fixture
def steady(trained) -> Workspace:
    """A trained prior; settings in fp32, without dropout, with held-out losses on the way."""
    changes = {"prior__precision": "fp32", "diffusion__precision": "fp32"}
    return adapt(trained, prior__dropout_steps=0, train__validate_every=4, **changes)


def _in_copy(workspace: Workspace, root, **changes) -> Workspace:
    shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns("logs"))
    return adapt(replace(workspace, root=root), **changes)


def _log(workspace: Workspace, name: str) -> list[dict[str, float]]:
    return [json.loads(x) for x in (workspace.logs / name / "log.jsonl").read_text().splitlines()]


def _checkpoint(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    files = sorted((workspace.logs / name / "checkpoint").glob("*.safetensors"))
    return {f"{file.stem}.{key}": x for file in files for key, x in load_file(file).items()}


def _model(workspace: Workspace, name: str) -> dict[str, torch.Tensor]:
    files = sorted(workspace.models(name).rglob("*.safetensors"))
    return {f"{file.parent.name}.{key}": x for file in files for key, x in load_file(file).items()}


@pytest.mark.parametrize("name", ["prior", "diffusion"])
def test_divided_weights_learn_and_are_saved_as_whole_ones(steady, tmp_path, name) -> None:
    one = _in_copy(steady, tmp_path / "one", train__micro_batch=4)
    TRAINERS[name](one)
    two = _in_copy(steady, tmp_path / "two", train__micro_batch=2, train__fsdp="on")
    summaries = in_ranks(2, lambda: TRAINERS[name](two))
    assert [summary.steps for summary in summaries] == [12, 12]
    for found, expected in zip(_log(two, name), _log(one, name), strict=True):
        assert found.keys() == expected.keys()
        for key in found.keys() & {"loss", "gradient_norm", "heldout_loss"}:
            assert found[key] == pytest.approx(expected[key], rel=1e-3)
    whole, parts = _checkpoint(one, name), _checkpoint(two, name)
    assert {key: x.shape for key, x in parts.items()} == {key: x.shape for key, x in whole.items()}
    for found, expected in ((parts, whole), (_model(two, name), _model(one, name))):
        error = sum((found[key] - x).square().sum() for key, x in expected.items())
        assert (error / sum(x.square().sum() for x in expected.values())).sqrt() < 5e-3


def test_a_divided_run_goes_on_in_one_process_and_back(steady, tmp_path, monkeypatch) -> None:
    whole = _in_copy(steady, tmp_path / "whole", train__micro_batch=4)
    train_prior(whole)
    parts = _in_copy(steady, tmp_path / "parts", train__micro_batch=4, train__fsdp="on")
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    died, _ = in_ranks(2, lambda: train_prior(parts, progress=Stopper(4)))
    assert isinstance(died, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        train_prior(parts, progress=Stopper(4))  # one process divides nothing
    assert in_ranks(2, lambda: train_prior(parts).resumed_at) == [8, 8]
    losses = [[row["loss"] for row in _log(x, "prior") if "loss" in row] for x in (parts, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_each_process_holds_a_part() -> None:
    def measured() -> tuple[int, int, float]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 3))
        with join_ranks() as ranks:
            shards = Shards(model, [model[0]], ranks)
            held = {name: value.numel() for name, value in shards.learned.items()}
            model(torch.ones(2, 6)).sum().backward()
            shards.collect()
            norm = shards.clip(0.5)
            shards.leave()
        return held["0.weight"], held["1.weight"], float(norm)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 3))
    model(torch.ones(2, 6)).sum().backward()
    first, second = in_ranks(2, measured)
    assert (first[0], second[0]) == (30, 24)  # five rows of nine, and four
    assert first[1] == second[1] == 27
    divided = [
        x.grad.square().sum() * (4 if at < 2 else 1) for at, x in enumerate(model.parameters())
    ]
    assert first[2] == pytest.approx(float(torch.stack(divided).sum().sqrt()), rel=1e-5)


def test_the_plan_counts_a_part(steady) -> None:
    alone = prior_footprint(adapt(steady, train__processes=4))
    divided = prior_footprint(adapt(steady, train__processes=4, train__fsdp="on"))
    for part in ("weights", "gradients", "optimizer", "ema"):
        assert divided.memory[part] < alone.memory[part]


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("tokenizer", {}, "tokenizer"),
        ("prior", {"train__micro_batch": 3}, "batch of 8"),
        ("prior", {"train__optimizer": "adamw8bit"}, "adamw8bit"),
        ("diffusion", {"train__preview_every": 5}, "preview_every"),
    ],
)
def test_what_cannot_be_divided_is_refused(steady, tmp_path, name, changes, named) -> None:
    asked = adapt(steady, train__fsdp="on", **changes)
    for error in in_ranks(2, lambda: TRAINERS[name](asked, restart=True)):
        assert isinstance(error, KaleidoError) and error.code == "bad-setting"
        assert named in error.what
