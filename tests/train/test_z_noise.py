"""Noise on z in training the denoiser, and telling it how much."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.models.adapter import ZReader
from pipelines.models.conditioning import Conditioner
from pipelines.models.diffusion import Diffusion, build_diffusion
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import condition_on, draw, draw_from_z, encode_caption
from pipelines.train.diffusion import DiffusionTask, train_diffusion
from pipelines.train.joint import train_joint
from pipelines.train.noise import Noise
from pipelines.train.stream import RecordStream
from pipelines.workspace.settings import SampleSettings
from tests.train.conftest import adapt
from tests.train.stopper import Stopper
from tests.train.test_nested import TINY

NOISY = {"diffusion__z_noise": 0.8}


def _task(workspace, model: Diffusion | None = None, most: float = 0.8) -> DiffusionTask:
    stream = RecordStream(workspace, ("palette",), 0)
    stream.arrange([(16, 16)], 8)
    model = model or Diffusion.load(workspace.models("diffusion"))
    prior = Prior.load(workspace.models("prior"))
    return DiffusionTask(model, prior, stream, 0.0, 2, 0.1, 0, z_noise=most)


def _texts(task: DiffusionTask, ids: torch.Tensor) -> list[str]:
    return [task._prior.tokenizer.decode(row, skip_special_tokens=True) for row in ids]


def test_noise_follows_from_the_position_alone(trained) -> None:
    task = _task(trained)
    whole, parts = task.batch(0, 8).z, [task.batch(start, 4).z for start in (0, 4)]
    assert torch.equal(whole.noise, torch.cat([part.noise for part in parts]))
    assert _texts(task, whole.ids) == [text for part in parts for text in _texts(task, part.ids)]
    again = task.batch(32, 8).z  # another epoch has other noise
    assert not torch.equal(whole.noise, again.noise)
    assert 0.0 <= whole.noise.min() < 0.4 < whole.noise.max() <= 0.8


def test_only_what_is_read_has_noise(trained) -> None:
    noisy, clean = _task(trained), _task(trained, most=0.0)
    ours, theirs = noisy.batch(0, 8), clean.batch(0, 8)
    assert theirs.z.noise.sum() == 0.0
    assert _texts(noisy, ours.z.ids) != _texts(noisy, theirs.z.ids)
    assert torch.equal(ours.known.ids, theirs.known.ids)
    assert torch.equal(ours.images, theirs.images)
    view, size = noisy.held_out()
    assert view.batch(0, min(size, 2)).z.noise.sum() == 0.0


def test_training_with_noise_resumes_with_the_same_weights(trained, tmp_path, monkeypatch) -> None:
    noisy = adapt(trained, **NOISY)
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(noisy)
    assert "z_noise" in caught.value.why
    train_diffusion(noisy, restart=True)
    whole = Diffusion.load(trained.models("diffusion")).state_dict()
    shutil.rmtree(trained.models("diffusion"))
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_diffusion(noisy, restart=True, progress=Stopper(5))
    assert train_diffusion(noisy).resumed_at == 5
    resumed = Diffusion.load(trained.models("diffusion")).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert whole["context.noise_token"].abs().sum() > 0.0


def test_the_denoiser_is_told_when_it_draws(trained, invoke, monkeypatch) -> None:
    monkeypatch.chdir(trained.root)
    said = invoke("sample", "a star", "--n", "1", "--z-noise", "0.5", "--name", "no", code=1)
    assert "z_noise" in said.err
    invoke("train", "diffusion", "--z-noise", "0.8", "--restart", "--yes", "--steps", "12",
           "--layers", "1", "--heads", "2", "--head-dim", "8", "--image-size", "16",
           "--pixel-channels", "8", "--batch-size", "8", "--learning-rate", "0.01")  # fmt: skip
    drawn = {}
    for told in ("0", "0.5"):
        invoke("sample", "a star", "--n", "1", "--steps", "2", "--z-noise", told, "--name", told)
        (row,) = (trained.root / f"samples/{told}/samples.jsonl").read_text().splitlines()
        assert json.loads(row)["settings"]["z_noise"] == float(told)
        sheet = trained.root / f"samples/{told}/sheet.png"
        drawn[told] = json.loads(row)["z"], sheet.read_bytes()
    assert drawn["0"][0] == drawn["0.5"][0] and drawn["0"][1] != drawn["0.5"][1]
    bundle = load_bundle(trained)
    encoded = encode_caption(bundle.reader, "a star")
    texts = [drawn["0"][0]]
    quiet, told = (condition_on(bundle, encoded, texts, level).tokens for level in (0.0, 0.5))
    assert not torch.equal(quiet, told)
    options = SampleSettings(n=1, steps=2, z_noise=0.5)
    assert next(draw_from_z(bundle, "a star", texts, options)).pixels.shape == (16, 16, 3)


def test_a_model_that_was_not_told_goes_on_with_noise(trained, tmp_path) -> None:
    start = tmp_path / "start"
    shutil.move(trained.models("diffusion"), start)
    tuned = adapt(trained, **NOISY, diffusion__pretrained=str(start), diffusion__steps=1)
    train_diffusion(adapt(tuned, diffusion__learning_rate=1e-30), restart=True)
    model = Diffusion.load(trained.models("diffusion"))
    for name, value in Diffusion.load(start).state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert model.state_dict()["context.noise_token"].abs().max() < 1e-20
    assert next(draw(load_bundle(trained), "a star", SampleSettings(n=1, steps=1, z_noise=1.0)))
    backwards = adapt(trained, diffusion__pretrained=str(trained.models("diffusion")))
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(backwards, restart=True)
    assert caught.value.code == "model-mismatch"


def test_a_nested_u_net_is_told_too(trained) -> None:
    noisy = adapt(trained, **NOISY, **{f"diffusion__{key}": value for key, value in TINY.items()})
    prior = Prior.load(trained.models("prior"))
    task = _task(noisy, build_diffusion(noisy.settings.diffusion, prior, ("palette",)))
    for parameter in task.model.denoiser.parameters():
        if not parameter.any():  # outputs and adapters, which are zero at first
            torch.nn.init.normal_(parameter, std=0.1)
    task.loss(task.batch(0, 4), Noise(0, "test", range(4))).sum().backward()
    assert task.model.context.noise_token.grad.abs().sum() > 0.0


def test_without_noise_the_weights_have_the_names_and_values_of_before(trained) -> None:
    torch.manual_seed(0)
    plain, seed = Conditioner(16, 32, 24), torch.get_rng_state()
    torch.manual_seed(0)
    told = Conditioner(16, 32, 24, z_noise=True)
    assert torch.equal(seed, torch.get_rng_state())
    assert set(told.state_dict()) - set(plain.state_dict()) == {"noise_token"}
    found = told.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in plain.state_dict().items())
    assert "noise_token" not in Diffusion.load(trained.models("diffusion")).context.state_dict()


def test_an_adapter_reads_the_amount(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    z = prior.read_z(["<palette> <500><500><500><1000>"])
    told = z._replace(noise=torch.ones(1))
    torch.manual_seed(0)
    reader = ZReader(len(prior.tokenizer), 16, 1, 2, z_noise=True)
    assert torch.equal(reader(z).tokens, reader(told).tokens)
    torch.nn.init.normal_(reader.refiner.noise_token)
    assert not torch.equal(reader(z).tokens, reader(told).tokens)


def test_a_joint_run_has_no_noise_since_the_prior_learns_the_same_z(trained) -> None:
    changes = {"joint__steps": 1, "joint__batch_size": 8, "prior__z_kinds": ("palette",)}
    train_joint(adapt(trained, **changes, **NOISY), restart=True)
    assert Diffusion.load(trained.models("diffusion")).context.noise_token is None
