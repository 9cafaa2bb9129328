"""Training diffusion model and baseline on scenes, for a few steps."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.stage import Filtered, Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.models.diffusion import Diffusion
from pipelines.models.metadata import read_metadata, write_metadata
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.train.diffusion import MIN_SIGMA, DiffusionTask, train_diffusion
from pipelines.train.noise import Noise
from pipelines.train.prior import train_prior
from pipelines.train.stream import RecordStream
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told
from tests.train.conftest import OwnLabel, adapt


class NothingFound(Stage):
    """A detector that never finds anything."""

    spec = StageSpec("nothing", 1, "boxes")

    def __call__(self, records):
        return [Filtered("no object found") for _ in records]


def _refused(workspace: Workspace, restart: bool = False) -> KaleidoError:
    """Return the error with which a training is refused."""
    with pytest.raises(KaleidoError) as caught:
        train_diffusion(workspace, restart=restart)
    return caught.value


def test_trained_models_draw_images(trained) -> None:
    kaleido, baseline = load_bundle(trained), load_bundle(trained, baseline=True)
    assert (kaleido.source, kaleido.z_kinds) == ("workspace", ("palette",))
    assert (baseline.source, baseline.z_kinds) == ("workspace", ())
    options = SampleSettings(n=2, cfg=2.0, steps=2)
    drawn = list(draw(kaleido, "a star", options))
    assert [item.pixels.shape for item in drawn] == [(16, 16, 3)] * 2
    assert drawn[0].z.startswith("<palette>")
    assert next(draw(baseline, "a star", options)).z == ""
    files = {path.suffix for path in (trained.root / "models").rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors"}


def test_baseline_and_kaleido_have_equal_parameters(trained) -> None:
    shapes = []
    for name in ("diffusion", "baseline"):
        model = Diffusion.load(trained.models(name))
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    assert shapes[0] == shapes[1]


def test_kinds_in_another_order_are_the_same_run(fresh) -> None:
    run_stages(fresh, [OwnLabel()], LocalEngine())
    short = adapt(fresh, prior__steps=1, diffusion__steps=1)
    for kinds in (("boxes", "palette"), ("palette", "boxes")):
        both = adapt(short, prior__z_kinds=kinds, diffusion__z_kinds=kinds)
        resumed = train_prior(both).resumed_at, train_diffusion(both).resumed_at
    assert resumed == (1, 1)


def test_a_missing_prior_names_its_command(fresh) -> None:
    with pytest.raises(InputMissing) as caught:
        train_diffusion(fresh)
    assert "kaleido train prior" in caught.value.hint


def test_kinds_that_the_prior_lacks_are_named(trained) -> None:
    run_stages(trained, [OwnLabel()], LocalEngine())
    refused = _refused(adapt(trained, diffusion__z_kinds=("boxes",)))
    assert (refused.what, refused.code) == ("boxes", "model-mismatch")


def test_noise_and_dropping_follow_from_the_generator(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    model = Diffusion.load(trained.models("diffusion"))
    stream = RecordStream(trained, ("palette",), 0)
    stream.arrange([(16, 16)], 8)
    task = DiffusionTask(model, prior, stream, 0.5, 2, 0.1, 0)
    batch = task.batch(0, 8)
    losses = [task.loss(batch, Noise(seed, "test", range(8))).sum().item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert batch.images.shape == (8, 3, 16, 16)
    assert -1.0 <= batch.images.min() < batch.images.max() <= 1.0


def test_levels_are_spread_evenly_and_weighed(trained, monkeypatch) -> None:
    model = Diffusion.load(trained.models("diffusion"))
    prior, stream = Prior.load(trained.models("prior")), RecordStream(trained, ("palette",), 0)
    stream.arrange([(16, 16)], 8)
    task = DiffusionTask(model, prior, stream, 0.5, 2, 0.1, 0)
    batch = task.batch(0, 8)
    levels = []

    def off_by_a_tenth(self, noisy, sigma, context):
        levels.append(sigma)
        return [batch.images.repeat(2, 1, 1, 1) + 0.1], torch.zeros(16, 16, prior.width)

    monkeypatch.setattr(Diffusion, "predict_with_words", off_by_a_tenth)
    loss = task.loss(batch, Noise(0, "test", range(8)))[0]
    edges = model.shift(torch.linspace(0.0, 1.0, 17))
    assert ((levels[0] >= edges[:-1]) & (levels[0] <= edges[1:])).all()
    weights = (1.0 - levels[0]).sqrt() / levels[0].clamp(min=MIN_SIGMA)
    torch.testing.assert_close(loss, 0.01 * weights.mean(), rtol=1e-3, atol=0)


def test_a_baseline_learns_the_names_of_z_but_never_reads_them(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    model = Diffusion.load(trained.models("baseline"))
    stream = RecordStream(trained, ("palette",), 0)
    stream.arrange([(16, 16)], 8)
    z = {text: f"<boxes> {text} <0><0><500><1000>" for text in ("star", "heart")}

    def losses(known: str, weight: float) -> torch.Tensor:
        task = DiffusionTask(model, prior, stream, 0.0, 1, weight, 0)
        batch = task.batch(0, 2)
        assert batch.z is None and (batch.known is not None) == (weight > 0.0)
        if weight:
            batch = batch._replace(known=prior.read_z([known] * 2))
        return task.loss(batch, Noise(0, "test", range(2))).sum()

    star, heart = losses(z["star"], 1.0), losses(z["heart"], 1.0)
    assert star != heart  # it is the target
    assert losses(z["star"], 0.0) not in (star, heart)
    for loss in (star, heart):
        loss.backward()
    assert model.denoiser.naming[1].weight.grad.abs().sum() > 0


def test_kinds_that_no_record_has_are_left_out_and_told(fresh) -> None:
    told = Told()
    run_stages(fresh, [NothingFound()], LocalEngine())
    both = adapt(
        fresh,
        prior__z_kinds=("boxes", "palette"),
        prior__steps=1,
        diffusion__z_kinds=("boxes", "palette"),
        diffusion__steps=1,
    )
    train_prior(both, progress=told)
    assert any("boxes in 0 of" in text for text in told.said)
    train_diffusion(both)
    assert load_bundle(both).z_kinds == ("palette",)


def test_a_prior_trained_again_does_not_serve_an_older_diffusion_model(trained) -> None:
    train_prior(adapt(trained, prior__steps=14))
    with pytest.raises(KaleidoError) as caught:
        load_bundle(trained)
    assert caught.value.code == "model-mismatch"
    assert "prior" in _refused(trained).why
    train_diffusion(trained, restart=True)
    assert load_bundle(trained).source == "workspace"


def test_a_model_knows_how_many_images_it_saw(trained) -> None:
    assert Diffusion.load(trained.models("diffusion")).images_seen == 12 * 8


def test_training_goes_on_from_a_trained_model(trained, tmp_path) -> None:
    start = tmp_path / "start"
    shutil.move(trained.models("diffusion"), start)
    settings = {"diffusion__pretrained": str(start), "diffusion__steps": 1}
    tuned = adapt(trained, **settings, diffusion__learning_rate=1e-30)
    train_diffusion(tuned, restart=True)
    model, before = Diffusion.load(trained.models("diffusion")), Diffusion.load(start)
    assert model.images_seen == (12 + 1) * 8
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    # The baseline starts from the same weights, without z.
    train_diffusion(adapt(trained, **settings), baseline=True, restart=True)
    Diffusion.load(trained.models("baseline")).save(start)
    assert "pretrained" in _refused(tuned).why
    with pytest.raises(InputMissing) as caught:
        train_diffusion(adapt(trained, diffusion__pretrained=str(tmp_path / "nowhere")))
    assert "diffusion.pretrained" in caught.value.hint
    larger = _refused(adapt(trained, **settings, diffusion__layers=2), restart=True)
    assert (larger.what, larger.code) == (
        f"diffusion.pretrained = {str(start)!r}",
        "model-mismatch",
    )


def test_images_are_reduced_to_the_denoisers_size(trained) -> None:
    train_diffusion(adapt(trained, diffusion__image_size=8, diffusion__steps=1), restart=True)
    model = Diffusion.load(trained.models("diffusion"))
    prior = Prior.load(trained.models("prior"))
    stream = RecordStream(trained, ("palette",), 0)
    stream.arrange([(8, 8)], 8)
    images = DiffusionTask(model, prior, stream, 0.1, 1, 0.1, 0).batch(0, 2).images
    assert images.shape == (2, 3, 8, 8)
    whole = torch.tensor(stream.batch(0, 1)[0].pixels).movedim(-1, 0) / 127.5 - 1.0
    means = torch.nn.functional.avg_pool2d(whole, 2)
    torch.testing.assert_close(images[0], means, atol=1.0 / 127.5, rtol=0.0)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"patch_size": 3}, "diffusion.patch_size = 3"),
        ({"patch_size": 6}, "diffusion.patch_size = 6"),
        ({"pixel_channels": 12}, "diffusion.pixel_channels = 12"),
        ({"heads": 3, "head_dim": 20}, "diffusion.heads x diffusion.head_dim = 60"),
    ],
)
def test_sizes_that_do_not_fit_are_named(trained, wrong, named) -> None:
    refused = _refused(adapt(trained, **{f"diffusion__{k}": v for k, v in wrong.items()}))
    assert (refused.what, refused.code) == (named, "bad-setting")


def test_a_saved_model_does_not_tell_where_it_was_loaded_from(trained, tmp_path) -> None:
    Diffusion.load(trained.models("diffusion")).save(tmp_path / "copy")
    for config in (tmp_path / "copy").rglob("config.json"):
        assert str(trained.root) not in config.read_text()


def test_a_diffusion_model_of_another_version_is_refused(trained) -> None:
    folder = trained.models("diffusion")
    write_metadata(folder, {**read_metadata(folder, "", ""), "flavour": "sweet"})
    with pytest.raises(KaleidoError) as caught:
        Diffusion.load(folder)
    assert (caught.value.what, caught.value.code) == (str(folder), "bad-model")


@pytest.mark.parametrize("changed", ["name", "shape"])
def test_a_model_of_another_version_is_refused_whole(trained, changed) -> None:
    path = trained.models("diffusion") / "denoiser" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    first = weights.pop("pixel_encoder.first.weight")
    weights |= (
        {"pixel_stem.first.weight": first}
        if changed == "name"
        else {"pixel_encoder.first.weight": first[:, :6].contiguous()}
    )
    save_file(weights, path)
    with pytest.raises(KaleidoError) as caught:
        Diffusion.load(trained.models("diffusion"))
    assert (caught.value.what, caught.value.code) == (str(path.parent), "bad-model")


def test_images_are_mixed_with_noise_by_the_formula(trained, monkeypatch) -> None:
    """x_σ = x + σ (ε − x), a row for each image and draw, with the levels and noise of the seed."""
    model = Diffusion.load(trained.models("diffusion"))
    prior, stream = Prior.load(trained.models("prior")), RecordStream(trained, ("palette",), 0)
    stream.arrange([(16, 16)], 8)
    task = DiffusionTask(model, prior, stream, 0.5, 2, 0.0, 0)
    batch, seen = task.batch(0, 4), []

    def record(self, noisy, sigma, context):
        seen.append((noisy, sigma))
        return [torch.zeros_like(noisy)], None

    monkeypatch.setattr(Diffusion, "predict_with_words", record)
    task.loss(batch, Noise(0, "test", range(4)))
    (noisy, sigma), again = seen[0], Noise(0, "test", range(4))
    again.uniform()
    levels, drawn = model.shift(again.levels(2)), again.normal(2, 3, 16, 16)
    for number in range(2):
        for row in range(4):
            image, level = batch.images[row], levels[number, row]
            assert sigma[4 * number + row] == level
            wanted = image + level * (drawn[row, number] - image)
            torch.testing.assert_close(noisy[4 * number + row], wanted, atol=1e-6, rtol=1e-5)
