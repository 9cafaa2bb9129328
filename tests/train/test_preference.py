"""The preference step of the prior: z that a check refuses become rarer."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.errors import KaleidoError
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.models.prior import Prior
from pipelines.models.soundness import Soundness
from pipelines.sample.decode import Row, draw_own, draw_rows
from pipelines.scenes.true_stages import KINDS, TrueStage
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.train.preference import DRAWS, EVERY, Preference
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import PriorTask
from pipelines.train.stream import RecordStream
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import adapt
from tests.train.stopper import Stopper

BOTH = ("boxes", "blobs")
SHORT = {"prior__z_kinds": BOTH, "prior__steps": 6, "prior__dropout_steps": 0}


@pytest.fixture(scope="module")
def _placed(trained_on, tmp_path_factory) -> Workspace:
    """Scenes with boxes and blobs, and a prior of them."""
    root = tmp_path_factory.mktemp("placed") / "workspace"
    shutil.copytree(trained_on.root, root)
    workspace = adapt(trained_on.__class__(root, trained_on.settings), **SHORT)
    run_stages(workspace, [TrueStage(KINDS, 0)], LocalEngine())
    train_prior(adapt(workspace, prior__steps=24))
    return workspace


@pytest.fixture
def placed(_placed, tmp_path) -> Workspace:
    shutil.copytree(_placed.root, tmp_path / "workspace")
    return adapt(_placed.__class__(tmp_path / "workspace", _placed.settings))


def refuse_right(self, z, overlap, colours, places) -> dict[str, float]:
    """A check that blames the blobs of a z whose first one is not on the left."""
    return {"blobs": float(z["blobs"].items[0].xc > 400)}


def share_refused(prior: Prior) -> float:
    prior.model.eval()
    with torch.inference_mode():
        encoded = prior.encode(["a star"])
    texts = draw_rows(prior, [Row(encoded, seed) for seed in range(96)], BOTH)
    found = [refuse_right(None, z_from_text(text), 0.5, True, True)["blobs"] for text in texts]
    return sum(found) / len(found)


def test_the_share_of_refused_z_falls_against_a_twin(placed, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(Soundness, "shortfalls", refuse_right)
    stream = RecordStream(placed, BOTH, 0, images=False)
    shares = {}
    for weight in (0.0, 2.0):
        prior = Prior.load(placed.models("prior"))
        preference = Preference(prior, weight, draw_own) if weight else None
        task = PriorTask(prior, stream, 0, preference=preference)
        options = TrainOptions(20, 32, 5e-3, 1, 0, ema=0.0)
        train(task, options, tmp_path / str(weight), {}, "prior")
        shares[weight] = share_refused(prior)
    assert shares[0.0] > 0.3
    assert shares[2.0] < 0.7 * shares[0.0]


def test_only_the_later_part_is_blamed_and_groups_balance(placed) -> None:
    prior = Prior.load(placed.models("prior"))
    step = Preference(prior, 1.0, draw_own)
    box, far = Boxes((Box("star", 0, 0, 400, 400),)), Blobs((Blob("star", 800, 800, 90, 90, 0),))
    near = Blobs((Blob("star", 200, 200, 200, 200, 0),))
    rows = [far] * 2 + [near] * (DRAWS - 2)
    texts = [z_to_text({"boxes": box, "blobs": blobs}) for blobs in rows]
    ids, mask = prior.tokenize_z(texts)
    blame = step._blame(texts, ids, mask)
    tokens = [prior.tokenizer.convert_ids_to_tokens(row.tolist()) for row in ids]
    first = tokens[0].index("<blobs>")
    assert not blame[:, : first + 1].any() and blame[0, first + 1 :].all()
    torch.testing.assert_close(blame[0, first + 1], torch.tensor(0.5 * (1 - 2 / DRAWS)))
    assert blame[-1, first + 1] < 0 == blame[0, 0]
    assert blame[:, first + 1].sum().abs() < 1e-6


def test_which_captions_are_drawn_for_follows_from_the_position(placed) -> None:
    step = Preference(Prior.load(placed.models("prior")), 1.0, draw_own)
    drawn = [
        start + row for start in range(0, 70, 7) for row in step.rows(start, 7)
    ]  # fmt: skip
    assert drawn == list(range(0, 70, EVERY))


def test_the_loss_has_the_gradient_of_its_formula(placed, monkeypatch) -> None:
    prior = Prior.load(placed.models("prior"))
    monkeypatch.setattr(Soundness, "shortfalls", refuse_right)
    stream = RecordStream(placed, BOTH, 0, images=False)
    task = PriorTask(prior, stream, 0, preference=Preference(prior, 2.0, draw_own))
    batch = task.batch(0, 4)
    assert batch.preferred == (0,) and task.weigh(batch, 4)[1] == 1.0
    losses = [task.loss(batch, Noise(seed, "test", range(4)))[1].item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    plain = PriorTask(prior, stream, 0)
    noise = Noise(0, "test", range(4))
    torch.testing.assert_close(plain.loss(batch, noise), task.loss(batch, noise)[0])
    view, _ = task.held_out()
    held = view.batch(0, 2)
    assert held.preferred == () and view.loss(held, Noise(0, "test", range(2)))[1] == 0.0


def test_training_with_it_resumes_with_the_same_weights(placed, monkeypatch) -> None:
    chosen = adapt(placed, prior__preference=1.0)
    with pytest.raises(KaleidoError) as caught:
        train_prior(chosen, draw=draw_own)
    assert "preference" in caught.value.why
    train_prior(chosen, restart=True, draw=draw_own)
    whole = load_file(placed.models("prior") / "model.safetensors")
    train_prior(placed, restart=True)
    without = load_file(placed.models("prior") / "model.safetensors")
    assert any(not torch.equal(whole[name], without[name]) for name in whole)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_prior(chosen, restart=True, progress=Stopper(3), draw=draw_own)
    assert train_prior(chosen, draw=draw_own).resumed_at == 3
    resumed = load_file(placed.models("prior") / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_cannot_be_judged_or_drawn_is_refused(placed) -> None:
    for changes in ({"prior__z_kinds": ("boxes",)}, {"train__fsdp": "on"}):
        with pytest.raises(KaleidoError) as caught:
            train_prior(adapt(placed, prior__preference=1.0, **changes), True, draw=draw_own)
        assert caught.value.code == "bad-setting"
    with pytest.raises(ValueError):
        train_prior(adapt(placed, prior__preference=1.0), restart=True)


def test_the_command_trains_with_it(placed, invoke, monkeypatch) -> None:
    monkeypatch.chdir(placed.root)
    invoke("train", "prior", "--preference", "1", "--restart", "--yes", "--steps", "2",
           "--z", "boxes,blobs", "--d-model", "32", "--d-ff", "32", "--layers", "1",
           "--heads", "2", "--batch-size", "8")  # fmt: skip
    assert Prior.load(placed.models("prior")).z_kinds == BOTH
