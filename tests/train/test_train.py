"""Training prior, diffusion model and baseline on real scenes, for a few steps."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.progress import Progress
from pipelines.core.stage import Filtered, Ok, Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.extract.run import extract
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import Description
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.latents.vocabulary import encode_z, number_ids
from pipelines.models.diffusion import Diffusion
from pipelines.models.metadata import read_metadata, write_metadata
from pipelines.models.prior import Prior
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.scenes.generate import write_scenes
from pipelines.train.diffusion import MIN_SIGMA, DiffusionTask, train_diffusion
from pipelines.train.prior import PriorTask, train_prior, z_text
from pipelines.train.stream import RecordStream
from pipelines.train.tokenizer import train_tokenizer
from pipelines.workspace.config import override
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace
from tests.train.stopper import Stopper


@pytest.fixture
def workspace(trained_on, tmp_path) -> Workspace:
    """A copy of the data, so that each test trains its own models."""
    root = tmp_path / "workspace"
    shutil.copytree(trained_on.root, root)
    return replace(trained_on, root=root)


def _with(workspace: Workspace, **changes) -> Workspace:
    renamed = {key.replace("__", "."): value for key, value in changes.items()}
    return replace(workspace, settings=override(workspace.settings, renamed))


def test_the_whole_training_draws_pictures(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    train_diffusion(workspace, baseline=True)
    kaleido, baseline = load_bundle(workspace), load_bundle(workspace, baseline=True)
    assert (kaleido.source, kaleido.z_kinds) == ("workspace", ("palette",))
    assert (baseline.source, baseline.z_kinds) == ("workspace", ())
    options = SampleSettings(n=2, cfg=2.0, steps=2)
    drawn = list(draw(kaleido, "a star", options))
    assert [item.pixels.shape for item in drawn] == [(16, 16, 3)] * 2
    assert drawn[0].z.startswith("<palette>")
    assert next(draw(baseline, "a star", options)).z == ""
    files = {path.suffix for path in (workspace.root / "models").rglob("*") if path.is_file()}
    assert files <= {".json", ".safetensors"}


def test_baseline_and_kaleido_have_equal_parameters(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    train_diffusion(workspace, baseline=True)
    shapes = []
    for name in ("diffusion", "baseline"):
        model = Diffusion.load(workspace.models(name))
        shapes.append({key: value.shape for key, value in model.state_dict().items()})
    assert shapes[0] == shapes[1]


def test_the_loss_of_the_prior_falls(workspace) -> None:
    first = train_prior(_with(workspace, prior__steps=1))
    last = train_prior(_with(workspace, prior__steps=60))
    assert last.resumed_at == 1
    assert last.loss < 0.9 * first.loss


def test_dropout_ends_after_its_steps(workspace) -> None:
    settings = {"prior__steps": 1, "prior__dropout": 0.5}
    losses = [
        train_prior(_with(workspace, **settings, prior__dropout_steps=steps), restart=True).loss
        for steps in (0, 1, 2)
    ]
    assert losses[0] != losses[1] == losses[2]


def test_labels_and_marks_weigh_more_than_numbers(workspace) -> None:
    train_prior(workspace)
    prior = Prior.load(workspace.models("prior"))
    stream = RecordStream(workspace, ("palette",), 0)
    plain, weighted = (PriorTask(prior, stream, 0, 0, weight) for weight in (1.0, 3.0))
    ids, mask, z_ids, z_mask, _ = batch = plain.batch(0, 4)
    with torch.inference_mode():
        usual = prior.model(ids, mask.long(), labels=z_ids.masked_fill(~z_mask, -100))
        torch.testing.assert_close(plain.loss(batch, torch.Generator()), usual.loss)
        weighted_loss = weighted.loss(batch, torch.Generator())
    nll = cross_entropy(usual.logits.flatten(0, 1), z_ids.flatten(), reduction="none")
    numbers = torch.isin(z_ids, torch.tensor(number_ids(prior.tokenizer))).flatten()
    weights = torch.where(numbers, 1.0, 3.0) * z_mask.flatten()
    assert 0 < numbers.sum() < z_mask.sum()
    torch.testing.assert_close(weighted_loss, (weights * nll).sum() / weights.sum())


def test_an_interrupted_run_gives_the_same_weights(workspace, tmp_path, monkeypatch) -> None:
    train_prior(workspace)
    whole = load_file(workspace.models("prior") / "model.safetensors")
    again = replace(workspace, root=tmp_path / "again")
    shutil.copytree(workspace.root, again.root, ignore=shutil.ignore_patterns("models", "logs"))
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_prior(again, progress=Stopper(5))
    summary = train_prior(again)
    assert summary.resumed_at == 5
    resumed = load_file(again.models("prior") / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_run_reads_no_record_and_no_weights(workspace, monkeypatch) -> None:
    train_prior(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(RecordStream, "batch", None)
        patch.setattr("pipelines.train.checkpoint.load_file", None)
        assert train_prior(workspace).resumed_at == 12
    before = load_file(workspace.models("prior") / "model.safetensors")
    shutil.rmtree(workspace.models("prior"))
    assert train_prior(workspace).resumed_at == 12  # from the checkpoint
    after = load_file(workspace.models("prior") / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert train_prior(_with(workspace, prior__steps=13)).resumed_at == 12


def test_captions_that_are_cut_are_counted(workspace) -> None:
    heard: list[str] = []

    class Listener(Progress):
        def message(self, text: str) -> None:
            heard.append(text)

    train_prior(workspace, progress=Listener())
    assert not [text for text in heard if "cut" in text]
    train_prior(_with(workspace, prior__max_caption_tokens=4), restart=True, progress=Listener())
    size = RecordStream(workspace, ("palette",), 0).size
    (told,) = [text for text in heard if "cut" in text]
    prior = Prior.load(workspace.models("prior"))
    records = RecordStream(workspace, ("palette",), 0).batch(0, size)
    cut = sum(len(prior.tokenizer(record.caption).input_ids) > 4 for record in records)
    assert told.startswith(f"{cut:,} of the {size:,} captions are longer than 4 tokens")


def test_several_processes_write_nothing(workspace, monkeypatch) -> None:
    train_prior(workspace)
    before = {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")}
    monkeypatch.setenv("WORLD_SIZE", "2")
    for start in (train_prior, train_diffusion, train_tokenizer):
        with pytest.raises(KaleidoError) as caught:
            start(workspace, restart=True)
        assert caught.value.code == "many-processes"
    assert {path: path.stat().st_mtime_ns for path in workspace.root.rglob("*")} == before


def test_a_model_is_not_replaced_by_one_without_weights(workspace, monkeypatch) -> None:
    """As transformers saves it on any rank but the first."""
    train_prior(workspace)
    weights = load_file(workspace.models("prior") / "model.safetensors")
    model = Prior.load(workspace.models("prior")).model

    def config_only(self, folder, **options) -> None:
        self.config.save_pretrained(folder)

    monkeypatch.setattr(type(model), "save_pretrained", config_only)
    with pytest.raises(KaleidoError) as caught:
        train_prior(_with(workspace, prior__steps=13))
    assert caught.value.code == "bad-model"
    kept = load_file(workspace.models("prior") / "model.safetensors")
    assert kept.keys() == weights.keys()
    assert [path.name for path in (workspace.root / "models").iterdir()] == ["prior"]


def test_changed_settings_are_refused_and_restart_forgets(workspace) -> None:
    train_prior(workspace)
    changed = _with(workspace, prior__learning_rate=0.01)
    with pytest.raises(KaleidoError, match="learning_rate"):
        train_prior(changed)
    assert train_prior(changed, restart=True).resumed_at == 0


def test_kinds_in_another_order_are_the_same_run(workspace) -> None:
    run_stages(workspace, [OwnLabel()], LocalEngine())
    for kinds in (("boxes", "palette"), ("palette", "boxes")):
        both = _with(workspace, prior__z_kinds=kinds, diffusion__z_kinds=kinds)
        resumed = train_prior(both).resumed_at, train_diffusion(both).resumed_at
    assert resumed == (12, 12)


def test_missing_inputs_name_their_commands(workspace) -> None:
    with pytest.raises(InputMissing, match="kaleido train prior"):
        train_diffusion(workspace)
    with pytest.raises(InputMissing, match="kaleido extract boxes"):
        train_prior(_with(workspace, prior__z_kinds=("boxes",)))
    train_prior(workspace)
    with pytest.raises(KaleidoError, match="trained on palette only"):
        train_diffusion(_with(workspace, diffusion__z_kinds=("boxes",)))


def test_the_prior_keeps_its_precision_in_fp16_on_disk(workspace, tmp_path) -> None:
    train_prior(workspace)
    prior = Prior.load(workspace.models("prior"))
    prior.save(tmp_path / "half", torch.float16)
    half = Prior.load(tmp_path / "half")
    assert half.model.dtype == torch.float32
    assert half.z_kinds == ("palette",)
    with torch.inference_mode():
        full, rounded = (model.encode(["a star"]).values for model in (prior, half))
    torch.testing.assert_close(full, rounded, atol=2e-2, rtol=0)


def test_noise_and_dropping_follow_from_the_generator(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    prior = Prior.load(workspace.models("prior"))
    model = Diffusion.load(workspace.models("diffusion"))
    stream = RecordStream(workspace, ("palette",), 0)
    task = DiffusionTask(model, prior, stream, 0.5, 2, 0.1, 0)
    batch = task.batch(0, 8)
    losses = [task.loss(batch, torch.Generator().manual_seed(seed)).item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    assert batch.images.shape == (8, 3, 16, 16)
    assert -1.0 <= batch.images.min() < batch.images.max() <= 1.0


def test_levels_are_spread_evenly_and_weighed(workspace, monkeypatch) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    model = Diffusion.load(workspace.models("diffusion"))
    prior, stream = Prior.load(workspace.models("prior")), RecordStream(workspace, ("palette",), 0)
    task = DiffusionTask(model, prior, stream, 0.5, 2, 0.1, 0)
    batch = task.batch(0, 8)
    levels = []

    def off_by_a_tenth(self, noisy, sigma, context):
        levels.append(sigma)
        return batch.images.repeat(2, 1, 1, 1) + 0.1, torch.zeros(16, 16, prior.width)

    monkeypatch.setattr(Diffusion, "predict_with_words", off_by_a_tenth)
    loss = task.loss(batch, torch.Generator().manual_seed(0))
    edges = model.shift(torch.linspace(0.0, 1.0, 17))
    assert ((levels[0] >= edges[:-1]) & (levels[0] <= edges[1:])).all()
    weights = (1.0 - levels[0]).sqrt() / levels[0].clamp(min=MIN_SIGMA)
    torch.testing.assert_close(loss, 0.01 * weights.mean(), rtol=1e-3, atol=0)


def test_a_baseline_learns_the_names_of_z_but_never_reads_them(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace, baseline=True)
    prior = Prior.load(workspace.models("prior"))
    model = Diffusion.load(workspace.models("baseline"))
    stream = RecordStream(workspace, ("palette",), 0)
    z = {text: f"<boxes> {text} <0><0><500><1000>" for text in ("star", "heart")}

    def losses(known: str, weight: float) -> torch.Tensor:
        task = DiffusionTask(model, prior, stream, 0.0, 1, weight, 0)
        batch = task.batch(0, 2)
        assert batch.z is None and (batch.known is not None) == (weight > 0.0)
        if weight:
            batch = batch._replace(known=prior.read_z([known] * 2))
        return task.loss(batch, torch.Generator().manual_seed(0))

    star, heart = losses(z["star"], 1.0), losses(z["heart"], 1.0)
    assert star != heart  # it is the target
    assert losses(z["star"], 0.0) not in (star, heart)
    for loss in (star, heart):
        loss.backward()
    assert model.denoiser.naming[1].weight.grad.abs().sum() > 0


def test_random_subsets_show_every_kind_and_never_none(workspace) -> None:
    (record,) = RecordStream(workspace, ("palette",), 0).batch(0, 1)
    boxes = Boxes((Box("star", 1, 2, 3, 4),))
    record = replace(record, latents={"boxes": boxes, **record.latents})
    kinds = [tuple(z_from_text(z_text(record, ("boxes", "palette"), 0, at))) for at in range(400)]
    shares = {shown: kinds.count(shown) / 400 for shown in set(kinds)}
    assert set(shares) == {("boxes", "palette"), ("boxes",), ("palette",)}
    assert shares["boxes", "palette"] > 0.5
    assert min(shares.values()) > 0.1


def test_a_pretrained_t5_is_taken_with_its_encoder_frozen(workspace, tmp_path) -> None:
    train_prior(workspace)
    source = tmp_path / "t5"
    Prior.load(workspace.models("prior")).save(source)
    before = load_file(source / "model.safetensors")
    train_prior(_with(workspace, prior__pretrained=str(source)), restart=True)
    after = load_file(workspace.models("prior") / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("encoder.block") for name in changed)
    assert any(name.startswith("decoder.block") for name in changed)


def test_a_pretrained_prior_is_resumed_by_its_weights(workspace, tmp_path) -> None:
    train_prior(workspace)
    source, moved = tmp_path / "t5", tmp_path / "moved"
    Prior.load(workspace.models("prior")).save(source)
    train_prior(_with(workspace, prior__pretrained=str(source)), restart=True)
    first = Prior.load(workspace.models("prior")).identity
    train_prior(_with(workspace, prior__pretrained=str(source)), restart=True)
    assert Prior.load(workspace.models("prior")).identity == first
    shutil.move(source, moved)
    assert train_prior(_with(workspace, prior__pretrained=str(moved))).resumed_at == 12
    shutil.copytree(workspace.models("prior"), moved, dirs_exist_ok=True)
    with pytest.raises(KaleidoError, match="other settings: pretrained"):
        train_prior(_with(workspace, prior__pretrained=str(moved)))


def test_a_pretrained_name_that_does_not_exist_is_explained(workspace, tmp_path) -> None:
    with pytest.raises(KaleidoError) as caught:
        train_prior(_with(workspace, prior__pretrained=str(tmp_path / "nowhere")))
    assert caught.value.what == str(tmp_path / "nowhere")


def test_kinds_that_no_record_has_are_left_out_and_told(workspace) -> None:
    heard: list[str] = []

    class Listener(Progress):
        def message(self, text: str) -> None:
            heard.append(text)

    run_stages(workspace, [NothingFound()], LocalEngine())
    both = _with(
        workspace,
        prior__z_kinds=("boxes", "palette"),
        diffusion__z_kinds=("boxes", "palette"),
    )
    train_prior(both, progress=Listener())
    assert any("boxes in 0 of" in text for text in heard)
    train_diffusion(both)
    assert load_bundle(both).z_kinds == ("palette",)


class NothingFound(Stage):
    """A detector that never finds anything."""

    spec = StageSpec("nothing", 1, "boxes")

    def __call__(self, records):
        return [Filtered("no object found") for _ in records]


def test_a_label_that_few_records_have_can_be_drawn(workspace, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.prior.TOKENIZER_RECORDS", 1)
    run_stages(workspace, [OwnLabel()], LocalEngine())
    train_prior(_with(workspace, prior__z_kinds=("boxes",)))
    trained = {
        record.key for record in RecordStream(workspace, ("boxes",), 0).batch(0, 200)
    }  # more than an epoch
    assert set(Prior.load(workspace.models("prior")).labels) == trained


def test_long_labels_and_descriptions_can_be_drawn(workspace, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.prior.MOST_LABELS", 0)
    run_stages(workspace, [LongLabel(), LongDescription()], LocalEngine())
    kinds = ("description", "boxes")
    train_prior(_with(workspace, prior__z_kinds=kinds))
    prior = Prior.load(workspace.models("prior"))
    assert prior.max_label_tokens > 8 and prior.max_description_tokens > 256
    for record in RecordStream(workspace, kinds, 0).batch(0, 4):
        ids = encode_z(prior.tokenizer, z_to_text(record.latents))
        prior.grammar(kinds).walk([*ids, prior.tokenizer.eos_token_id])


def test_the_vocabulary_learns_words_not_numbers_of_z(workspace) -> None:
    train_prior(workspace)
    vocabulary = Prior.load(workspace.models("prior")).tokenizer.get_vocab()
    assert "Ġcircle" in vocabulary
    digits = [token for token in vocabulary if len(token.strip("<>Ġ")) > 1 and "<" not in token]
    assert not [token for token in digits if token.strip("Ġ").isdigit()]


class OwnLabel(Stage):
    """A detector that finds in every image a thing of its own kind."""

    spec = StageSpec("own label", 1, "boxes")

    def __call__(self, records):
        return [Ok(Boxes((Box(record.key, 0, 0, 500, 500),))) for record in records]


class LongLabel(Stage):
    """A detector whose labels are long, and of no words that a vocabulary has."""

    spec = StageSpec("long label", 1, "boxes")

    def __call__(self, records):
        return [Ok(Boxes((Box(fingerprint(record.key), 0, 0, 9, 9),))) for record in records]


class LongDescription(Stage):
    """A captioner whose descriptions are so, too."""

    spec = StageSpec("long description", 1, "description")

    def __call__(self, records):
        return [
            Ok(Description(" ".join(fingerprint(record.key, part) for part in range(14))))
            for record in records
        ]


def test_a_prior_trained_again_does_not_serve_an_older_diffusion_model(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    train_prior(_with(workspace, prior__steps=14))
    with pytest.raises(KaleidoError, match="trained again"):
        load_bundle(workspace)
    with pytest.raises(KaleidoError, match="other settings: prior"):
        train_diffusion(workspace)
    train_diffusion(workspace, restart=True)
    assert load_bundle(workspace).source == "workspace"


def test_a_checkpoint_of_other_data_is_refused(workspace) -> None:
    train_prior(workspace)
    write_scenes(workspace, 60, seed=0, size=16, shard_size=20)
    extract(workspace, ("palette",))
    with pytest.raises(KaleidoError, match="other settings: data"):
        train_prior(workspace)
    assert train_prior(workspace, restart=True).resumed_at == 0


def test_a_model_knows_how_many_images_it_saw(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    assert Diffusion.load(workspace.models("diffusion")).images_seen == 12 * 8


def test_training_goes_on_from_a_trained_model(workspace, tmp_path) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    start = tmp_path / "start"
    shutil.move(workspace.models("diffusion"), start)
    settings = {"diffusion__pretrained": str(start), "diffusion__steps": 1}
    tuned = _with(workspace, **settings, diffusion__learning_rate=1e-30)
    train_diffusion(tuned, restart=True)
    model, before = Diffusion.load(workspace.models("diffusion")), Diffusion.load(start)
    assert model.images_seen == (12 + 1) * 8
    for name, value in before.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    train_diffusion(_with(workspace, **settings), baseline=True)  # without z, from the same start
    Diffusion.load(workspace.models("baseline")).save(start)
    with pytest.raises(KaleidoError, match="other settings: pretrained"):
        train_diffusion(tuned)
    with pytest.raises(InputMissing, match="Set diffusion.pretrained"):
        train_diffusion(_with(workspace, diffusion__pretrained=str(tmp_path / "nowhere")))
    with pytest.raises(KaleidoError, match="other sizes"):
        train_diffusion(_with(workspace, **settings, diffusion__layers=2), restart=True)


def test_images_are_reduced_to_the_denoisers_size(workspace) -> None:
    train_prior(workspace)
    train_diffusion(_with(workspace, diffusion__image_size=8))
    model, prior = (
        Diffusion.load(workspace.models("diffusion")),
        Prior.load(workspace.models("prior")),
    )
    stream = RecordStream(workspace, ("palette",), 0)
    images = DiffusionTask(model, prior, stream, 0.1, 1, 0.1, 0).batch(0, 2).images
    assert images.shape == (2, 3, 8, 8)
    whole = torch.tensor(stream.batch(0, 1)[0].pixels).movedim(-1, 0) / 127.5 - 1.0
    means = torch.nn.functional.avg_pool2d(whole, 2)
    torch.testing.assert_close(images[0], means, atol=1.0 / 127.5, rtol=0.0)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"image_size": 12}, "16 x 16 pixels.*squares of 12 pixels"),
        ({"patch_size": 3}, "diffusion.patch_size = 3"),
        ({"patch_size": 6}, "diffusion.patch_size = 6"),
        ({"pixel_channels": 12}, "diffusion.pixel_channels = 12"),
        ({"heads": 3, "head_dim": 20}, "heads x diffusion.head_dim = 60.*multiple of 8"),
    ],
)
def test_sizes_that_do_not_fit_are_named(workspace, wrong, named) -> None:
    train_prior(workspace)
    with pytest.raises(KaleidoError, match=named):
        train_diffusion(_with(workspace, **{f"diffusion__{k}": v for k, v in wrong.items()}))


def test_a_width_that_the_context_cannot_have_is_named_before_any_work(tmp_path) -> None:
    empty = Workspace.init(tmp_path / "empty")
    with pytest.raises(KaleidoError, match="prior.d_model = 126.*multiple of 4"):
        train_prior(_with(empty, prior__d_model=126))


def test_a_saved_model_does_not_tell_where_it_was_loaded_from(workspace, tmp_path) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    Diffusion.load(workspace.models("diffusion")).save(tmp_path / "copy")
    for config in (tmp_path / "copy").rglob("config.json"):
        assert str(workspace.root) not in config.read_text()


def test_facts_of_another_version_are_refused(workspace) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    for name, load in (("prior", Prior.load), ("diffusion", Diffusion.load)):
        folder = workspace.models(name)
        write_metadata(folder, {**read_metadata(folder, "", ""), "flavour": "sweet"})
        with pytest.raises(KaleidoError, match=rf"{name}: .*another version.*--restart"):
            load(folder)


@pytest.mark.parametrize("changed", ["name", "shape"])
def test_a_model_of_another_version_is_refused_whole(workspace, changed) -> None:
    train_prior(workspace)
    train_diffusion(workspace)
    path = workspace.models("diffusion") / "denoiser" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    first = weights.pop("pixel_encoder.first.weight")
    weights |= (
        {"pixel_stem.first.weight": first}
        if changed == "name"
        else {"pixel_encoder.first.weight": first[:, :6].contiguous()}
    )
    save_file(weights, path)
    with pytest.raises(KaleidoError, match=r"denoiser: .*another version.*--restart"):
        Diffusion.load(workspace.models("diffusion"))
