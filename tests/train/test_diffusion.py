"""Training diffusion model and baseline on scenes, for a few steps."""

from __future__ import annotations

import json
import shutil
from copy import copy
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.stage import Filtered, Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.models.denoiser.nested import scaled_level
from pipelines.models.diffusion import NESTED, Diffusion
from pipelines.models.metadata import read_metadata, write_metadata
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.train.diffusion import (
    MIN_SIGMA,
    DiffusionTask,
    _check_codebook,
    _go_on_from,
    _known_kinds,
    _shown_captions,
    drawing_error,
    train_diffusion,
)
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


def test_checkpoints_say_what_the_weights_depend_on_and_no_more(trained) -> None:
    """What older versions did not know is left out where it is as it was then."""

    def kept(**changes: object) -> dict[str, object]:
        train_diffusion(adapt(trained, **changes, diffusion__steps=1), restart=True)
        state = trained.logs / "diffusion" / "checkpoint" / "state.json"
        found: dict[str, object] = json.loads(state.read_text())["settings"]
        return found

    usual = kept()
    assert (usual["shapes"], usual["autoencoder"]) == (None, None)
    assert usual["prior"] == Prior.load(trained.models("prior")).identity
    assert usual["image_size"] == 16
    later = {"aspect", "space", "noise_shift", "architecture", *NESTED}
    assert not later & set(usual)
    assert set(kept(diffusion__noise_shift=2.0)) == {*usual, "noise_shift"}


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


def test_the_error_of_each_resolution_by_hand() -> None:
    """Off by a, and off by b from the means of 2 x 2 pixels, each weighed at its own level."""
    images = torch.arange(64.0).reshape(2, 1, 4, 8)
    means = torch.stack([image.unfold(1, 2, 2).unfold(2, 2, 2).mean((3, 4)) for image in images])
    sigma = torch.tensor([0.5, 0.01])
    alone = drawing_error([images + 0.2], images, sigma)
    weights = [0.5**0.5 / 0.5, 0.99**0.5 / MIN_SIGMA]
    assert alone.item() == pytest.approx(0.04 * sum(weights) / 2, rel=1e-4)
    both = drawing_error([images + 0.2, means - 0.5], images, sigma)
    levels = scaled_level(sigma, 2).tolist()
    lower = [(1 - level) ** 0.5 / max(level, MIN_SIGMA) for level in levels]
    assert both.item() == pytest.approx(alone.item() + 0.25 * sum(lower) / 2, rel=1e-4)


def test_captions_that_are_shown_are_of_held_out_records(trained) -> None:
    stream = RecordStream(trained, ("palette",), 0)
    view = stream.held_out_view()
    first = [record.caption for record in view.batch(0, min(view.size, 16))]
    shown = _shown_captions(stream)
    assert shown == list(dict.fromkeys(first))[:4] and len(set(shown)) == len(shown)
    nothing = copy(stream)
    nothing.held_out_view = lambda: SimpleNamespace(size=0)
    own = [record.caption for record in stream.batch(0, 16)]
    assert _shown_captions(nothing) == list(dict.fromkeys(own))[:4]


def test_tokens_of_another_visual_tokenizer_are_refused() -> None:
    for ours, theirs in (("a", "a"), ("", "b"), ("a", "")):
        _check_codebook(SimpleNamespace(codebook=ours), SimpleNamespace(codebook=theirs))
    with pytest.raises(KaleidoError) as caught:
        _check_codebook(SimpleNamespace(codebook="a"), SimpleNamespace(codebook="b"))
    assert (caught.value.code, caught.value.what) == ("model-mismatch", "tokens")


def test_kinds_are_those_of_the_prior_in_its_order() -> None:
    prior = SimpleNamespace(z_kinds=("boxes", "palette"), absent_kinds=("blobs",))
    assert _known_kinds(["palette", "blobs", "boxes"], prior) == ("boxes", "palette")
    assert _known_kinds(["palette"], prior) == ("palette",)
    with pytest.raises(KaleidoError) as caught:
        _known_kinds(["tokens", "palette"], prior)
    assert (caught.value.what, caught.value.code) == ("tokens", "model-mismatch")


class Trained(nn.Module):
    """What `_go_on_from` looks at."""

    def __init__(self, space: str | None, token: bool = False, **other: object) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2))
        self.context = nn.Module()
        self.context.noise_token = nn.Parameter(torch.randn(2)) if token else None
        self.images_seen, self.drawn_kinds = 0, ("own",)
        self.space = space and SimpleNamespace(identity=space)
        self.z_kinds: tuple[str, ...] = ("palette",)
        vars(self).update(other)

    @property
    def config(self) -> dict[str, dict[str, bool]]:
        return {"context": {"z_noise": True} if self.context.noise_token is not None else {}}


def test_a_model_that_was_not_told_of_noise_on_z_learns_of_it() -> None:
    trained, model = Trained(None), Trained(None, token=True)
    token = model.context.noise_token.detach().clone()
    _go_on_from(trained, model, "here")
    assert torch.equal(model.weight, trained.weight)
    assert torch.equal(model.context.noise_token, token)
    knowing = Trained(None, token=True)
    _go_on_from(knowing, model, "here")
    assert torch.equal(model.context.noise_token, knowing.context.noise_token)
    with pytest.raises(KaleidoError):
        _go_on_from(knowing, trained, "here")


@pytest.mark.parametrize(
    ("theirs", "ours", "fits"),
    [
        (None, None, True),
        ("a", "a", True),
        ("a", "b", False),
        ("b", "a", False),
        ("a", None, False),
        (None, "a", False),
    ],
)
def test_training_goes_on_in_the_space_of_the_trained_model(theirs, ours, fits) -> None:
    trained, model = Trained(theirs, images_seen=7, drawn_kinds=("theirs",)), Trained(ours)
    if fits:
        _go_on_from(trained, model, "here")
        assert torch.equal(model.weight, trained.weight)
        assert (model.images_seen, model.drawn_kinds) == (7, ("theirs",))
        _go_on_from(trained, other := Trained(ours, z_kinds=()), "here")
        assert (other.images_seen, other.drawn_kinds) == (7, ("own",))
        _go_on_from(Trained(theirs, z_kinds=(), images_seen=2), model, "here")
        assert (model.images_seen, model.drawn_kinds) == (2, ("theirs",))
        return
    before = model.weight.detach().clone()
    with pytest.raises(KaleidoError) as caught:
        _go_on_from(trained, model, "here")
    assert (caught.value.code, caught.value.what) == (
        "model-mismatch",
        "diffusion.pretrained = 'here'",
    )
    assert torch.equal(model.weight, before)
