"""Tokens: from the pixels, by the tokenizer that the workspace has trained, into the prior."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Ok
from pipelines.embedded.paths import embedded_path
from pipelines.extract.run import extract
from pipelines.extract.tokenizers.find import find_tokenizer, own_tokenizer
from pipelines.extract.tokens import TokensStage
from pipelines.latents.grid_shape import Shape
from pipelines.latents.sequence import z_from_text
from pipelines.models.pixels import to_tensor
from pipelines.models.prior import Prior
from pipelines.models.tokenizer import Tokenizer
from pipelines.sample.decode import draw_z
from pipelines.scenes.generate import write_scenes
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.config import override
from pipelines.workspace.reader import read_joined
from pipelines.workspace.workspace import Workspace
from tests.extract import visual_models

SETTINGS = {
    "tokenizer.channels": (8, 8),
    "tokenizer.codebook_size": 16,
    "tokenizer.steps": 3,
    "tokenizer.decoder_steps": 2,
    "tokenizer.batch_size": 8,
    "prior.z_kinds": ("tokens",),
    "prior.d_model": 32,
    "prior.d_ff": 32,
    "prior.layers": 1,
    "prior.heads": 2,
    "prior.vocab_size": 1500,
    "prior.steps": 3,
    "prior.batch_size": 8,
}


@pytest.fixture
def scenes(tmp_path) -> Workspace:
    """Twenty scenes of 16 pixels: grids of 2 x 2 tokens."""
    workspace = Workspace.init(tmp_path / "workspace")
    workspace = replace(workspace, settings=override(workspace.settings, SETTINGS))
    write_scenes(workspace, 20, seed=0, size=16, shard_size=10)
    return workspace


def test_ids_are_those_of_the_tokenizer(scenes):
    train_tokenizer(scenes)
    (summary,) = extract(scenes, ["tokens"])
    assert (summary.ok, summary.failed, summary.skipped) == (20, 0, 0)
    tokenizer = Tokenizer.load(scenes.models("tokenizer"))
    for shard in scenes.data_shards():
        for record in read_joined(scenes, shard, ["tokens"]):
            found = record.latents["tokens"]
            assert found.shape == (2, 2, 16)
            (ids,) = tokenizer.encode(to_tensor(record.pixels[None])).flatten(1).tolist()
            assert list(found.ids) == ids


def test_another_tokenizer_makes_other_tokens(scenes):
    train_tokenizer(scenes)
    extract(scenes, ["tokens"])
    (again,) = extract(scenes, ["tokens"])
    assert again.skipped == 2
    longer = replace(scenes, settings=override(scenes.settings, {"tokenizer.steps": 5}))
    train_tokenizer(longer)
    (changed,) = extract(scenes, ["tokens"])
    assert changed.skipped == 0


def test_scenes_are_read_by_the_shipped_tokenizer_until_there_is_another(tmp_path):
    workspace = Workspace.init(tmp_path / "workspace")
    write_scenes(workspace, 4, seed=0, shard_size=4)
    (summary,) = extract(workspace, ["tokens"])
    assert summary.ok == 4
    shipped = Tokenizer.load(embedded_path("tokenizer"))
    for record in read_joined(workspace, workspace.data_shards()[0], ["tokens"]):
        assert record.latents["tokens"].shape == (8, 8, shipped.codebook_size)
        (ids,) = shipped.encode(to_tensor(record.pixels[None])).flatten(1).tolist()
        assert list(record.latents["tokens"].ids) == ids


def test_other_data_need_a_tokenizer_of_their_own(workspace, records, write_data):
    write_data(records, 5)
    with pytest.raises(InputMissing) as caught:
        extract(workspace, ["tokens"])
    assert "kaleido train tokenizer" in caught.value.hint


@pytest.mark.parametrize("other", [{"size": 16}, {"size": 64, "hard": True}])
def test_so_do_scenes_that_the_shipped_one_does_not_know(tmp_path, other):
    workspace = Workspace.init(tmp_path / "workspace")
    write_scenes(workspace, 4, seed=0, **other)
    with pytest.raises(InputMissing) as caught:
        extract(workspace, ["tokens"])
    assert "kaleido train tokenizer" in caught.value.hint


def test_a_picture_of_another_size_fails_alone(scenes):
    train_tokenizer(scenes)
    model = own_tokenizer(scenes.models("tokenizer"))
    assert find_tokenizer(str(scenes.models("tokenizer"))) == model
    stage = TokensStage(model)
    stage.setup()
    outcomes = stage([_record("a", 16), _record("b", 24), _record("c", 16)])
    assert [type(outcome) for outcome in outcomes] == [Ok, Failed, Ok]
    assert "24 x 24" in outcomes[1].error


def test_a_prior_draws_grids_of_the_shape_that_it_learned(scenes):
    train_tokenizer(scenes)
    extract(scenes, ["tokens"])
    train_prior(scenes)
    prior = Prior.load(scenes.models("prior"))
    assert prior.token_shape == Shape(2, 2, 16)
    with torch.inference_mode():
        texts = draw_z(prior, prior.encode(["a star"]), ("tokens",), [0, 1])
    assert all(z_from_text(text)["tokens"].shape == (2, 2, 16) for text in texts)


def test_a_tokenizer_that_others_trained(scenes, tmp_path, invoke):
    visual_models.llamagen(tmp_path / "vq")
    flags = ["--model", str(tmp_path / "vq"), "--workspace", str(scenes.root)]
    invoke("extract", "tokens", *flags)
    own = override(scenes.settings, {"extract.tokens_model": str(tmp_path / "vq")})
    (again,) = extract(replace(scenes, settings=own), ["tokens"])
    assert (again.ok, again.skipped) == (20, 2)
    train_prior(scenes)
    prior = Prior.load(scenes.models("prior"))
    assert prior.token_shape == Shape(4, 4, 2000)
    with torch.inference_mode():
        (text,) = draw_z(prior, prior.encode(["a star"]), ("tokens",), [0])
    assert z_from_text(text)["tokens"].shape == (4, 4, 2000)


def test_tokens_of_another_tokenizer_are_not_trained_on(scenes):
    train_tokenizer(scenes)
    extract(scenes, ["tokens"])
    train_prior(scenes)
    assert Prior.load(scenes.models("prior")).codebook
    folder = scenes.latents("tokens")
    shutil.copytree(folder, folder.with_name("before"))
    changes = {"tokenizer.steps": 5, "diffusion.z_kinds": ("tokens",), "diffusion.image_size": 16}
    other = replace(scenes, settings=override(scenes.settings, changes))
    train_tokenizer(other)
    extract(other, ["tokens"])
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(other)
    assert "kaleido train prior" in caught.value.hint
    for path in folder.with_name("before").glob("000000.*"):
        shutil.copy(path, folder)
    with pytest.raises(KaleidoError) as caught:
        train_prior(scenes, restart=True)
    assert caught.value.code == "model-mismatch"


def _record(key: str, side: int) -> Record:
    return Record(key, encode_png(np.full((side, side, 3), 90, np.uint8)), "a star")
