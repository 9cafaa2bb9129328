"""States of captions that are computed once: training from them is training."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from pipelines.extract.run import extract
from pipelines.latents.caption_states import CaptionStates
from pipelines.latents.text import LatentError
from pipelines.models.prior import Prior
from pipelines.scenes.generate import write_scenes
from pipelines.train.diffusion import train_diffusion
from pipelines.train.footprint import prior_footprint
from pipelines.train.joint import train_joint
from pipelines.train.prior import train_prior
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told
from tests.train.conftest import adapt

KIND = CaptionStates.kind
READ = "The states of captions are read, not computed."


@pytest.fixture
def pretrained(trained, tmp_path) -> Workspace:
    """Settings to go on from a pretrained T5: the trained prior."""
    source = tmp_path / "t5"
    Prior.load(trained.models("prior")).save(source)
    changes = {"precision": "fp32", "dropout_steps": 4, "pretrained": str(source)}
    return adapt(trained, **{f"prior__{key}": value for key, value in changes.items()})


def _weights(workspace: Workspace, name: str = "prior") -> dict[str, torch.Tensor]:
    (file,) = (
        workspace.models(name) / "denoiser" if name != "prior" else workspace.models(name)
    ).glob("*.safetensors")
    return load_file(file)


def test_the_prior_trains_from_them_to_the_same_bit(pretrained) -> None:
    train_prior(pretrained, restart=True)
    wanted = _weights(pretrained)
    identity = Prior.load(pretrained.models("prior")).identity
    (summary,) = extract(pretrained, [KIND])
    assert (summary.ok, summary.failed) == (40, 0)
    told = Told()
    train_prior(pretrained, restart=True, progress=told)
    assert READ in told.said
    found = _weights(pretrained)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert Prior.load(pretrained.models("prior")).identity == identity


def test_the_encoder_is_not_held_while_they_are_read(pretrained, monkeypatch) -> None:
    whole = prior_footprint(pretrained)
    extract(pretrained, [KIND])
    assert prior_footprint(pretrained).memory["weights"] < whole.memory["weights"]

    def encode(*_: object) -> None:
        raise AssertionError("a caption was encoded")

    monkeypatch.setattr(Prior, "encode_ids", encode)
    train_prior(pretrained, restart=True)
    train_diffusion(pretrained, restart=True)


def test_one_more_picture_is_one_more_shard(pretrained) -> None:
    extract(pretrained, [KIND])
    before = {path.name: path.read_bytes() for path in pretrained.latents(KIND).glob("*.tar")}
    write_scenes(pretrained, 41, seed=0, size=16, shard_size=20)
    (summary,) = extract(pretrained, [KIND])
    assert (summary.shards, summary.skipped) == (3, 2)
    after = {path.name: path.read_bytes() for path in pretrained.latents(KIND).glob("*.tar")}
    assert all(after[name] == data for name, data in before.items())


def test_the_denoiser_and_joint_training_read_them_too(pretrained) -> None:
    pretrained = adapt(pretrained, diffusion__precision="fp32")
    train_prior(pretrained, restart=True)
    train_diffusion(pretrained, restart=True)
    wanted = _weights(pretrained, "diffusion")
    extract(pretrained, [KIND])
    told = Told()
    train_diffusion(pretrained, restart=True, progress=told)
    assert READ in told.said
    found = _weights(pretrained, "diffusion")
    assert all(torch.allclose(found[name], value, atol=1e-4) for name, value in wanted.items())
    settings = replace(pretrained.settings.joint, steps=2, batch_size=8)
    joint = replace(pretrained, settings=replace(pretrained.settings, joint=settings))
    told = Told()
    train_joint(joint, progress=told)
    assert READ in told.said
    assert "encoder.block.0.layer.0.SelfAttention.q.weight" in _weights(joint)


def test_states_of_another_encoder_are_not_used(pretrained) -> None:
    extract(pretrained, [KIND])  # the pretrained encoder's
    told = Told()
    train_diffusion(adapt(pretrained, prior__pretrained=""), restart=True, progress=told)
    assert any("another encoder" in message for message in told.said)
    extract(adapt(pretrained, prior__pretrained=""), [KIND])  # that of the trained prior
    told = Told()
    train_diffusion(adapt(pretrained, prior__pretrained=""), restart=True, progress=told)
    assert READ in told.said


def test_from_the_command_line(pretrained, invoke, monkeypatch) -> None:
    monkeypatch.chdir(pretrained.root)
    name = pretrained.settings.prior.pretrained
    invoke("extract", KIND, "--pretrained", name)
    assert KIND in invoke("status").out
    shared = ("--pretrained", name, "--z", "palette", "--steps", "2", "--batch-size", "4")
    assert READ in invoke("train", "prior", *shared, "--restart", "--yes").err


def test_without_any_encoder_both_ways_to_one_are_named(workspace, invoke) -> None:
    said = invoke("extract", KIND, "-w", str(workspace.root), code=1).err
    assert "--pretrained" in said and "kaleido train prior" in said


def test_bytes_that_hold_something_else_are_refused() -> None:
    with pytest.raises(LatentError):
        CaptionStates(torch.zeros(3, 2).half().numpy()).validate()
    with pytest.raises(LatentError):
        CaptionStates.from_bytes(b"\x93NUMPY")
