"""The loss on held-out records, and the numbers of a run in trackers."""

from __future__ import annotations

import json

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.train.diffusion import train_diffusion
from pipelines.train.log import LOG_FILE
from pipelines.train.noise import Noise
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import PriorTask
from pipelines.train.stream import RecordStream
from pipelines.train.tokenizer import train_tokenizer
from tests.train.conftest import adapt
from tests.train.forked import in_ranks


def _lines(workspace, name: str) -> list[dict]:
    text = (workspace.logs / name / LOG_FILE).read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _validations(workspace, name: str) -> list[dict]:
    return [line for line in _lines(workspace, name) if "validation_loss" in line]


TRAINERS = {"prior": train_prior, "diffusion": train_diffusion, "tokenizer": train_tokenizer}


@pytest.mark.parametrize("name", TRAINERS)
def test_the_loss_on_held_out_records_is_logged_and_changes_nothing(trained, name) -> None:
    settings = {"tokenizer__decoder_steps": 0, "prior__dropout_steps": 0}
    trained = adapt(trained, **settings, **{f"{name}__precision": "fp32"})
    TRAINERS[name](trained, restart=True)
    assert not _validations(trained, name)  # fewer steps than train.validate_every
    expected = [line["loss"] for line in _lines(trained, name)]
    TRAINERS[name](adapt(trained, train__validate_every=5), restart=True)
    found = _validations(trained, name)
    assert [line["step"] for line in found] == [5, 10]
    heldout = RecordStream(trained, ("palette",), 0).heldout
    assert {line["validation_records"] for line in found} == {heldout}
    assert found[1]["validation_loss"] < found[0]["validation_loss"]
    assert [line["loss"] for line in _lines(trained, name) if "loss" in line][:10] == expected[:10]
    TRAINERS[name](adapt(trained, train__validate_every=5, train__micro_batch=1), restart=True)
    parts = _validations(trained, name)
    assert [line["validation_loss"] for line in parts] == pytest.approx(
        [line["validation_loss"] for line in found], rel=1e-3
    )


def test_validation_is_of_held_out_records_alone(trained) -> None:
    stream = RecordStream(trained, ("palette",), 0)
    view, size = PriorTask(Prior.load(trained.models("prior")), stream, 0, 10_000).held_out()
    keys = view.keys(0, size)
    assert len(set(keys)) == size == stream.heldout
    assert not {*keys} & {*stream.keys(0, stream.size)}
    batch = view.batch(0, size)
    assert not batch.dropout and (batch.z_mask.sum(1) > 10).all()
    with torch.no_grad():
        assert torch.isfinite(view.loss(batch, Noise(0, "test", range(size))))


def test_processes_share_the_validation(trained) -> None:
    trained = adapt(
        trained, prior__dropout_steps=0, prior__precision="fp32", train__validate_every=6
    )
    train_prior(trained, restart=True)
    alone = [line["validation_loss"] for line in _validations(trained, "prior")]
    in_ranks(2, lambda: train_prior(trained, restart=True))
    found = [line["validation_loss"] for line in _validations(trained, "prior")]
    assert len(found) == 2 and found == pytest.approx(alone, rel=1e-4)


def test_tensorboard_draws_the_curves_of_a_run_and_goes_on(trained) -> None:
    pytest.importorskip("tensorboard", reason="the extra track is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracked = adapt(trained, train__track="tensorboard", train__validate_every=6)
    train_prior(tracked, restart=True)
    train_prior(adapt(tracked, prior__steps=14))
    events = EventAccumulator(str(trained.logs / "prior" / "tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("loss")]
    assert steps == [line["step"] for line in _lines(trained, "prior") if "loss" in line]
    assert steps[-1] == 14
    assert [event.step for event in events.Scalars("validation_loss")] == [6, 12]
    assert {"learning_rate", "gradient_norm", "images_per_second"} <= {*events.Tags()["scalars"]}


def test_a_tracker_that_is_not_installed_is_named_before_a_step(trained, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)
    with pytest.raises(KaleidoError) as caught:
        train_prior(adapt(trained, train__track="tensorboard", prior__steps=14))
    assert "kaleido-diffusion[track]" in caught.value.hint
    assert _lines(trained, "prior")[-1]["step"] == 12


def test_pictures_are_drawn_while_training_and_change_nothing(trained) -> None:
    from pipelines.core.images import open_image
    from pipelines.sample.preview import ACROSS, draw_preview

    seen = []

    def preview(prior, model, captions, path) -> None:
        seen.append((captions, {key: value.clone() for key, value in model.state_dict().items()}))
        draw_preview(prior, model, captions[:1], path)

    train_diffusion(trained, restart=True)
    expected = [line["loss"] for line in _lines(trained, "diffusion")]
    train_diffusion(adapt(trained, train__preview_every=6), restart=True, preview=preview)
    assert [line["loss"] for line in _lines(trained, "diffusion")] == expected
    sheets = sorted((trained.logs / "diffusion").glob("preview-*.png"))
    assert [sheet.name for sheet in sheets] == ["preview-000006.png", "preview-000012.png"]
    first, second = (open_image(sheet.read_bytes(), sheet.name) for sheet in sheets)
    assert first.size == second.size and first.width > ACROSS * 128
    assert first.tobytes() != second.tobytes()
    assert seen[0][0] == seen[1][0] and 0 < len(seen[0][0]) <= 4
    # The last sheet is of the weights that are saved.
    saved = Diffusion.load(trained.models("diffusion")).state_dict()
    assert all(torch.equal(saved[key], value) for key, value in seen[1][1].items())
