"""Training the prior on scenes, for a few steps."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.stage import Ok, Stage, StageSpec
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import run_stages
from pipelines.extract.run import extract
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import Description
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.latents.vocabulary import encode_label, encode_z, number_ids
from pipelines.models.metadata import read_metadata, write_metadata
from pipelines.models.prior import Prior
from pipelines.scenes.generate import write_scenes
from pipelines.scenes.true_stages import KINDS, TrueStage
from pipelines.train.noise import Noise
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import PriorTask, Reworded, Usual, z_text
from pipelines.train.stream import RecordStream
from pipelines.train.untrained_prior import _most_tokens
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told
from tests.train.conftest import OwnLabel, adapt
from tests.train.stopper import Stopper


class LongLabel(Stage):
    """A detector whose labels are long and share no word with the vocabulary."""

    spec = StageSpec("long label", 1, "boxes")

    def __call__(self, records):
        return [Ok(Boxes((Box(fingerprint(record.key), 0, 0, 9, 9),))) for record in records]


class LongDescription(Stage):
    """A captioner whose descriptions are equally long."""

    spec = StageSpec("long description", 1, "description")

    def __call__(self, records):
        return [
            Ok(Description(" ".join(fingerprint(record.key, part) for part in range(14))))
            for record in records
        ]


def _refused(workspace: Workspace) -> str:
    """Return the reason why a workspace's checkpoint is refused."""
    with pytest.raises(KaleidoError) as caught:
        train_prior(workspace)
    assert caught.value.code == "model-mismatch"
    return caught.value.why


def test_the_loss_of_the_prior_falls(fresh) -> None:
    first = train_prior(adapt(fresh, prior__steps=1))
    last = train_prior(adapt(fresh, prior__steps=60))
    assert last.resumed_at == 1
    assert last.loss < 0.9 * first.loss


def test_dropout_ends_after_its_steps(trained) -> None:
    settings = {"prior__steps": 1, "prior__dropout": 0.5}
    losses = [
        train_prior(adapt(trained, **settings, prior__dropout_steps=steps), restart=True).loss
        for steps in (0, 1, 2)
    ]
    assert losses[0] != losses[1] == losses[2]


def test_labels_and_marks_weigh_more_than_numbers(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    stream = RecordStream(trained, ("palette",), 0)
    plain, weighted = (PriorTask(prior, stream, 0, 0, weight) for weight in (1.0, 3.0))
    ids, mask, z_ids, z_mask, *_ = batch = plain.batch(0, 4)
    with torch.inference_mode():
        usual = prior.model(ids, mask.long(), labels=z_ids.masked_fill(~z_mask, -100))
        torch.testing.assert_close(plain.loss(batch, Noise(0, "test", range(4))), usual.loss)
        weighted_loss = weighted.loss(batch, Noise(0, "test", range(4)))
    nll = cross_entropy(usual.logits.flatten(0, 1), z_ids.flatten(), reduction="none")
    numbers = torch.isin(z_ids, torch.tensor(number_ids(prior.tokenizer))).flatten()
    weights = torch.where(numbers, 1.0, 3.0) * z_mask.flatten()
    assert 0 < numbers.sum() < z_mask.sum()
    torch.testing.assert_close(weighted_loss, (weights * nll).sum() / weights.sum())


def test_an_interrupted_run_gives_the_same_weights(trained, tmp_path, monkeypatch) -> None:
    whole = load_file(trained.models("prior") / "model.safetensors")
    again = replace(trained, root=tmp_path / "again")
    shutil.copytree(trained.root, again.root, ignore=shutil.ignore_patterns("models", "logs"))
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_prior(again, progress=Stopper(5))
    summary = train_prior(again)
    assert summary.resumed_at == 5
    resumed = load_file(again.models("prior") / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_finished_run_reads_no_record_and_no_weights(trained, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RecordStream, "batch", None)
        patch.setattr("pipelines.train.checkpoint.load_file", None)
        assert train_prior(trained).resumed_at == 12
    before = load_file(trained.models("prior") / "model.safetensors")
    shutil.rmtree(trained.models("prior"))
    assert train_prior(trained).resumed_at == 12  # from the checkpoint
    after = load_file(trained.models("prior") / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert train_prior(adapt(trained, prior__steps=13)).resumed_at == 12


def test_captions_that_are_cut_are_counted(fresh) -> None:
    told = Told()
    short = adapt(fresh, prior__steps=1)
    train_prior(short, progress=told)
    assert not [text for text in told.said if "max_caption_tokens" in text]
    train_prior(adapt(short, prior__max_caption_tokens=4), restart=True, progress=told)
    size = RecordStream(fresh, ("palette",), 0).size
    (said,) = [text for text in told.said if "max_caption_tokens" in text]
    prior = Prior.load(fresh.models("prior"))
    records = RecordStream(fresh, ("palette",), 0).batch(0, size)
    cut = sum(len(prior.tokenizer(record.caption).input_ids) > 4 for record in records)
    assert said.startswith(f"{cut:,} of the {size:,} ")


def test_a_model_is_not_replaced_by_one_without_weights(trained, monkeypatch) -> None:
    """transformers saves only the configuration on every rank but the first."""
    weights = load_file(trained.models("prior") / "model.safetensors")
    model = Prior.load(trained.models("prior")).model

    def config_only(self, folder, **options) -> None:
        self.config.save_pretrained(folder)

    monkeypatch.setattr(type(model), "save_pretrained", config_only)
    with pytest.raises(KaleidoError) as caught:
        train_prior(adapt(trained, prior__steps=13))
    assert caught.value.code == "bad-model"
    kept = load_file(trained.models("prior") / "model.safetensors")
    assert kept.keys() == weights.keys()
    names = {path.name for path in (trained.root / "models").iterdir()}
    assert names == {"prior", "diffusion", "baseline"}


def test_changed_settings_are_refused_and_restart_forgets(trained) -> None:
    faster = adapt(trained, prior__learning_rate=0.01)
    assert "learning_rate" in _refused(faster)
    assert train_prior(faster, restart=True).resumed_at == 0


def test_a_checkpoint_of_other_data_is_refused(trained) -> None:
    write_scenes(trained, 60, seed=0, size=16, shard_size=20)
    extract(trained, ("palette",))
    assert "data" in _refused(trained)
    assert train_prior(trained, restart=True).resumed_at == 0


def test_a_width_that_the_context_cannot_have_is_named_before_any_work(tmp_path) -> None:
    empty = Workspace.init(tmp_path / "empty")
    with pytest.raises(KaleidoError) as caught:
        train_prior(adapt(empty, prior__d_model=126))
    assert (caught.value.what, caught.value.code) == ("prior.d_model = 126", "bad-setting")


def test_the_prior_keeps_its_precision_in_fp16_on_disk(trained, tmp_path) -> None:
    prior = Prior.load(trained.models("prior"))
    prior.save(tmp_path / "half", torch.float16)
    half = Prior.load(tmp_path / "half")
    assert half.model.dtype == torch.float32
    assert half.z_kinds == ("palette",)
    with torch.inference_mode():
        full, rounded = (model.encode(["a star"]).values for model in (prior, half))
    torch.testing.assert_close(full, rounded, atol=2e-2, rtol=0)


def test_random_subsets_show_every_kind_and_never_none(trained_on) -> None:
    (record,) = RecordStream(trained_on, ("palette",), 0).batch(0, 1)
    boxes = Boxes((Box("star", 1, 2, 3, 4),))
    record = replace(record, latents={"boxes": boxes, **record.latents})
    kinds = [tuple(z_from_text(z_text(record, ("boxes", "palette"), 0, at))) for at in range(400)]
    shares = {shown: kinds.count(shown) / 400 for shown in set(kinds)}
    assert set(shares) == {("boxes", "palette"), ("boxes",), ("palette",)}
    assert shares["boxes", "palette"] > 0.5
    assert min(shares.values()) > 0.1


def test_usual_rows_show_the_usual_kinds(trained_on) -> None:
    (record,) = RecordStream(trained_on, ("palette",), 0).batch(0, 1)
    record = replace(record, latents={"boxes": Boxes((Box("star", 1, 2, 3, 4),)), **record.latents})

    def share(usual: Usual, shown: tuple[str, ...]) -> float:
        texts = [z_text(record, ("boxes", "palette"), 0, at, usual) for at in range(400)]
        return [tuple(z_from_text(text)) for text in texts].count(shown) / 400

    assert share(Usual(0.9, ("palette",)), ("palette",)) > 0.9
    assert 0.0 < share(Usual(0.9, ("palette",)), ("boxes", "palette")) < 0.1
    assert (
        share(Usual(1.0), ("boxes", "palette"))
        == share(Usual(1.0, ("blobs",)), ("boxes", "palette"))
        == 1.0
    )


def test_scheduled_sampling_reads_what_the_prior_draws_and_asks_for_the_data(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    stream = RecordStream(trained, ("palette",), 0)
    task = PriorTask(prior, stream, 0, replaced=lambda start: start / 8)
    assert [task.batch(start, 4).replaced for start in (0, 4)] == [0.0, 0.5]
    assert PriorTask(prior, stream, 0).batch(4, 4).replaced == 0.0
    batch = task.batch(0, 4)._replace(replaced=0.5)
    noise = Noise(0, "test", range(4))
    with torch.inference_mode():
        caption = prior.encode_ids(batch.caption_ids, batch.caption_mask)
        read = task._read(caption, batch, Noise(0, "test", range(4)))
        logits = prior.z_logits(caption, batch.z_ids, read)
        nll = cross_entropy(logits.transpose(1, 2), batch.z_ids, reduction="none")
        expected = (nll * batch.z_mask).sum() / batch.z_mask.sum()
        torch.testing.assert_close(task.loss(batch, noise), expected)
    changed = (read != batch.z_ids) & batch.z_mask
    assert 0.2 < changed.float().sum() / batch.z_mask.sum() < 0.5
    numbers = torch.tensor(number_ids(prior.tokenizer))
    assert torch.equal(torch.isin(read, numbers), torch.isin(batch.z_ids, numbers))
    assert (read == batch.z_ids)[~batch.z_mask].all()


def test_scheduled_sampling_changes_the_training_and_its_checkpoint(trained) -> None:
    before = Prior.load(trained.models("prior")).identity
    sampled = adapt(trained, prior__scheduled_sampling="linear", prior__scheduled_share=1.0)
    assert "scheduled_sampling" in _refused(sampled)
    train_prior(sampled, restart=True)
    assert Prior.load(trained.models("prior")).identity != before


def test_captions_are_reworded_in_training_and_not_when_held_out(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    stream = RecordStream(trained, ("palette",), 0)
    reworded = Reworded("shout", lambda record, rng: f"{record.caption} {rng.integers(9)}")
    task = PriorTask(prior, stream, 0, reworded=reworded)
    ids, mask = task.batch(0, 4)[:2]
    texts = [prior.tokenizer.decode(row[keep][:-1]) for row, keep in zip(ids, mask, strict=True)]
    captions = [record.caption for record in stream.batch(0, 4)]
    assert [text[:-2].strip() for text in texts] == captions
    assert len({text[-1] for text in texts}) > 1
    view, size = task.held_out()
    ids, mask = view.batch(0, min(size, 2))[:2]
    kept = view._stream.batch(0, min(size, 2))
    assert [
        prior.tokenizer.decode(row[keep][:-1]).strip() for row, keep in zip(ids, mask, strict=True)
    ] == [record.caption for record in kept]
    with pytest.raises(KaleidoError) as caught:
        train_prior(trained, reworded=reworded)
    assert "reworded" in caught.value.why


def test_what_the_data_have_in_common_is_saved_with_the_prior(fresh) -> None:
    run_stages(fresh, [TrueStage(KINDS, 0)], LocalEngine())
    kinds = ("description", "boxes", "blobs", "palette")
    train_prior(adapt(fresh, prior__z_kinds=kinds, prior__steps=1))
    prior = Prior.load(fresh.models("prior"))
    assert prior.soundness.colours > 0.5 and prior.soundness.overlaps == {}  # too few of a label
    folder = fresh.models("prior")
    found = read_metadata(folder, "", "")
    for wrong in ({"overlaps": {"star": 2}, "colours": 1.0}, {"overlaps": []}, {"colours": 1.0}):
        write_metadata(folder, {**found, "soundness": wrong})
        with pytest.raises(KaleidoError) as caught:
            Prior.load(folder)
        assert caught.value.code == "bad-model"


def test_a_pretrained_prior_learns_entirely_if_its_encoder_is_trained(trained, tmp_path) -> None:
    source = tmp_path / "t5"
    Prior.load(trained.models("prior")).save(source)
    before = load_file(source / "model.safetensors")
    changes = {"prior__pretrained": str(source), "prior__encoder": "trained"}
    train_prior(adapt(trained, **changes), restart=True)
    after = load_file(trained.models("prior") / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith("encoder.block") for name in changed)
    assert any(name.startswith("decoder.block") for name in changed)


def test_a_pretrained_t5_is_taken_with_its_encoder_frozen(trained, tmp_path) -> None:
    source = tmp_path / "t5"
    Prior.load(trained.models("prior")).save(source)
    before = load_file(source / "model.safetensors")
    train_prior(adapt(trained, prior__pretrained=str(source)), restart=True)
    after = load_file(trained.models("prior") / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("encoder.block") for name in changed)
    assert any(name.startswith("decoder.block") for name in changed)


def test_a_pretrained_prior_is_resumed_by_its_weights(trained, tmp_path) -> None:
    source, moved = tmp_path / "t5", tmp_path / "moved"
    Prior.load(trained.models("prior")).save(source)
    train_prior(adapt(trained, prior__pretrained=str(source)), restart=True)
    first = Prior.load(trained.models("prior")).identity
    train_prior(adapt(trained, prior__pretrained=str(source)), restart=True)
    assert Prior.load(trained.models("prior")).identity == first
    shutil.move(source, moved)
    assert train_prior(adapt(trained, prior__pretrained=str(moved))).resumed_at == 12
    shutil.copytree(trained.models("prior"), moved, dirs_exist_ok=True)
    assert "pretrained" in _refused(adapt(trained, prior__pretrained=str(moved)))


def test_a_pretrained_name_that_does_not_exist_is_explained(fresh, tmp_path) -> None:
    with pytest.raises(KaleidoError) as caught:
        train_prior(adapt(fresh, prior__pretrained=str(tmp_path / "nowhere")))
    assert caught.value.what == str(tmp_path / "nowhere")


def test_a_label_that_few_records_have_can_be_drawn(fresh, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.untrained_prior.TOKENIZER_RECORDS", 1)
    run_stages(fresh, [OwnLabel()], LocalEngine())
    train_prior(adapt(fresh, prior__z_kinds=("boxes",), prior__steps=1))
    stream = RecordStream(fresh, ("boxes",), 0)
    keys = set(stream.keys(0, stream.size))
    assert set(Prior.load(fresh.models("prior")).labels) == keys


def test_long_labels_and_descriptions_can_be_drawn(fresh, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.untrained_prior.MOST_LABELS", 0)
    run_stages(fresh, [LongLabel(), LongDescription()], LocalEngine())
    kinds = ("description", "boxes")
    train_prior(adapt(fresh, prior__z_kinds=kinds, prior__steps=1))
    prior = Prior.load(fresh.models("prior"))
    assert prior.max_label_tokens > 8 and prior.max_description_tokens > 256
    for record in RecordStream(fresh, kinds, 0).batch(0, 4):
        ids = encode_z(prior.tokenizer, z_to_text(record.latents))
        prior.grammar(kinds).walk([*ids, prior.tokenizer.eos_token_id])


def test_tokens_of_a_text_are_counted_without_its_marker(trained) -> None:
    prior = Prior.load(trained.models("prior"))
    texts = ["<;> star", "<;> a circle of stars", "<;> circle"]
    longest = encode_label(prior.tokenizer, "a circle of stars")
    assert _most_tokens(prior, texts) == len(longest) > 2
    assert _most_tokens(prior, []) == 0


def test_the_vocabulary_learns_words_not_numbers_of_z(trained) -> None:
    vocabulary = Prior.load(trained.models("prior")).tokenizer.get_vocab()
    assert "Ġcircle" in vocabulary
    digits = [token for token in vocabulary if len(token.strip("<>Ġ")) > 1 and "<" not in token]
    assert not [token for token in digits if token.strip("Ġ").isdigit()]


def test_latents_that_are_missing_name_their_command(fresh) -> None:
    with pytest.raises(InputMissing) as caught:
        train_prior(adapt(fresh, prior__z_kinds=("boxes",)))
    assert "kaleido extract boxes" in caught.value.hint


def test_a_prior_of_another_version_is_refused(trained) -> None:
    folder = trained.models("prior")
    write_metadata(folder, {**read_metadata(folder, "", ""), "flavour": "sweet"})
    with pytest.raises(KaleidoError) as caught:
        Prior.load(folder)
    assert (caught.value.what, caught.value.code) == (str(folder), "bad-model")
