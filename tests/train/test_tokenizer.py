"""Training the tokenizer on real scenes: it learns, keeps its codebook alive, resumes exactly."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.record import Record
from pipelines.extract.run import extract
from pipelines.models.tokenizer import FsqTokenizer, Tokenizer, build_tokenizer
from pipelines.train.codebook import DECAY, TokenizerTask, Trainee
from pipelines.train.log import LOG_FILE
from pipelines.train.noise import Noise
from pipelines.train.picture_task import DecoderTask, images_of, reconstruction_error
from pipelines.train.stream import RecordStream
from pipelines.train.tokenizer import (
    DECODER,
    WHOLE,
    _boxes_mask,
    _psnr,
    measure,
    train_tokenizer,
)
from pipelines.workspace.config import override
from pipelines.workspace.settings import TokenizerSettings
from pipelines.workspace.workspace import Workspace


@pytest.fixture
def workspace(trained_on, tmp_path) -> Workspace:
    """The data alone, so that each test trains its own tokenizer."""
    root = tmp_path / "workspace"
    shutil.copytree(trained_on.data, root / "data")
    return replace(trained_on, root=root)


def _with(workspace: Workspace, **changes) -> Workspace:
    renamed = {f"tokenizer.{key}": value for key, value in changes.items()}
    return replace(workspace, settings=override(workspace.settings, renamed))


def _tokenizer(workspace: Workspace) -> Tokenizer:
    return Tokenizer.load(workspace.models("tokenizer"))


def _weights(workspace: Workspace) -> dict[str, torch.Tensor]:
    (path,) = workspace.models("tokenizer").glob("*.safetensors")
    return load_file(path)


def test_training_makes_pictures_that_resemble_the_data(workspace) -> None:
    first = train_tokenizer(_with(workspace, steps=1, decoder_steps=0))
    last = train_tokenizer(_with(workspace, steps=220, decoder_steps=0))
    assert last.resumed_at == 1
    assert last.loss < 0.7 * first.loss
    assert last.psnr > first.psnr + 3.0
    assert last.psnr_objects is not None
    # Not collapsed: an untended codebook of this size ends with one or two entries.
    assert last.codebook_used > 0.3
    assert last.perplexity > 4.0
    tokenizer = Tokenizer.load(workspace.models("tokenizer"))
    records = RecordStream(workspace, (), 0).batch(0, 8)
    again = measure(tokenizer, records)
    assert again == measure(tokenizer, records)
    assert again["psnr"] > 10.0
    files = {path.suffix for path in (workspace.root / "models").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors"}


def test_an_interrupted_run_gives_the_same_weights(workspace, tmp_path, monkeypatch) -> None:
    train_tokenizer(workspace)
    again = replace(workspace, root=tmp_path / "again")
    shutil.copytree(workspace.data, again.data)
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(TokenizerTask, "batch", _stopping_at(5 * 8, TokenizerTask.batch))
        with pytest.raises(KeyboardInterrupt):
            train_tokenizer(again)
    assert train_tokenizer(again).resumed_at == 5
    whole, resumed = _weights(workspace), _weights(again)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def _stopping_at(position: int, batch):
    def stopping(task: TokenizerTask, start: int, count: int) -> torch.Tensor:
        if start >= position:
            raise KeyboardInterrupt
        return batch(task, start, count)

    return stopping


def test_afterwards_the_decoder_learns_alone(workspace) -> None:
    before = train_tokenizer(_with(workspace, steps=60, decoder_steps=0))
    images = images_of(RecordStream(workspace, (), 0).batch(0, 8))
    ids, weights = _tokenizer(workspace).encode(images), _weights(workspace)
    after = train_tokenizer(_with(workspace, steps=60, decoder_steps=60))
    assert (after.steps, after.images_seen, after.resumed_at) == (120, 120 * 8, 60)
    assert after.psnr > before.psnr + 0.5
    assert after.perplexity == before.perplexity
    assert torch.equal(_tokenizer(workspace).encode(images), ids)
    changed = {k.split(".")[0] for k, v in _weights(workspace).items() if not v.equal(weights[k])}
    assert changed == {"decoder", "post_quant_conv"}


def test_an_interrupted_decoder_goes_on_and_new_codes_get_a_new_one(workspace, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(DecoderTask, "batch", _stopping_at(3 * 8, DecoderTask.batch))
        with pytest.raises(KeyboardInterrupt):
            train_tokenizer(_with(workspace, decoder_steps=5))
    resumed = train_tokenizer(_with(workspace, decoder_steps=5))
    assert resumed.resumed_at == 12 + 3
    longer = train_tokenizer(_with(workspace, steps=14, decoder_steps=5))
    assert (longer.resumed_at, longer.steps) == (12, 14 + 5)
    fewer = train_tokenizer(_with(workspace, steps=12, decoder_steps=5))
    assert (fewer.resumed_at, fewer.steps) == (14 + 5, 14 + 5)  # what is finished stays
    with monkeypatch.context() as patched:
        patched.setattr(TokenizerTask, "batch", _stopping_at(15 * 8, TokenizerTask.batch))
        with pytest.raises(KeyboardInterrupt):
            train_tokenizer(_with(workspace, steps=16, decoder_steps=5))
    with pytest.raises(KaleidoError) as caught:
        train_tokenizer(_with(workspace, steps=14, decoder_steps=5))
    assert "15 of 16" in caught.value.why
    whole = train_tokenizer(_with(workspace, steps=16, decoder_steps=5))
    assert (whole.resumed_at, whole.steps) == (15, 16 + 5)  # a decoder for the codes of 16
    train_tokenizer(_with(workspace, decoder_steps=5), restart=True)
    assert not list((workspace.logs / "tokenizer-decoder").glob("*.tmp"))


def test_what_is_saved_is_the_network_alone(workspace) -> None:
    train_tokenizer(workspace)
    tokenizer = Tokenizer.load(workspace.models("tokenizer"))
    assert _weights(workspace).keys() == tokenizer.model.state_dict().keys()
    assert "share" not in _weights(workspace)


def test_changed_settings_are_refused_and_restart_forgets(workspace) -> None:
    train_tokenizer(workspace)
    changed = _with(workspace, learning_rate=0.01)
    with pytest.raises(KaleidoError) as caught:
        train_tokenizer(changed)
    assert caught.value.code == "model-mismatch"
    assert "learning_rate" in caught.value.why
    assert train_tokenizer(changed, restart=True).resumed_at == 0


def test_no_data_names_the_command(workspace) -> None:
    shutil.rmtree(workspace.data)
    with pytest.raises(InputMissing) as caught:
        train_tokenizer(workspace)
    assert "kaleido data" in caught.value.hint


def test_sizes_that_do_not_fit_the_data_are_refused(workspace) -> None:
    with pytest.raises(KaleidoError, match="covers 32 x 32"):
        train_tokenizer(_with(workspace, patch_size=16))


def test_without_held_out_records_it_is_measured_on_trained_ones(
    workspace, records, write_data
) -> None:
    shutil.rmtree(workspace.data)
    write_data(records, 10)  # none held out, no boxes
    summary = train_tokenizer(workspace)
    assert summary.measured_on == "train"
    assert summary.psnr_objects is None
    assert summary.psnr == pytest.approx(measure(_tokenizer(workspace), records)["psnr"])
    rates = [
        json.loads((workspace.logs / name / LOG_FILE).read_text().splitlines()[0])["learning_rate"]
        for name in (WHOLE, DECODER)
    ]
    rate = workspace.settings.tokenizer.learning_rate
    assert rates == [pytest.approx(rate / 2), pytest.approx(0.5 * rate / 2)]  # of 2 to warm up


def test_the_noise_of_a_copy_by_hand() -> None:
    """PSNR of errors in [0, 1]: 20 dB for a tenth; a perfect copy has a quarter of a step."""
    assert _psnr(np.full(4, 0.01)) == pytest.approx(20.0)
    assert _psnr(np.array([0.0, 0.02])) == pytest.approx(20.0)
    assert _psnr(np.zeros(4)) == pytest.approx(10 * np.log10(4 * 255**2), abs=1e-6)


def test_true_boxes_are_masks() -> None:
    boxes = [[0.25, 0.5, 0.75, 1.0], None, [0.0, 0.0, 0.25, 0.25]]
    truth = {"truth": {"objects": [{"box": box} for box in boxes]}}
    mask = _boxes_mask(Record("a", b"", "", truth), 4)
    assert mask.astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0]]
    assert not _boxes_mask(Record("a", b"", "", {}), 4).any()


@pytest.fixture
def trainee() -> Trainee:
    torch.manual_seed(0)
    settings = TokenizerSettings(patch_size=2, channels=(8,), codebook_size=6, code_dim=2)
    return Trainee(build_tokenizer(settings, 8))


def _vectors() -> torch.Tensor:
    """Six tight clusters of different sizes."""
    rng = torch.Generator().manual_seed(2)
    centres = torch.tensor([[0, 0], [4, 0], [0, 4], [4, 4], [9, 9], [-9, 2]], dtype=torch.float32)
    which = torch.tensor([0] * 100 + [1] * 40 + [2] * 20 + [3] * 10 + [4] * 2 + [5] * 2)
    return centres[which] + 0.01 * torch.randn(len(which), 2, generator=rng)


def test_the_codebook_begins_with_an_entry_in_every_cluster(trainee) -> None:
    vectors = _vectors()
    trainee.revive(vectors, torch.Generator().manual_seed(0))
    codebook = trainee.network.quantize.embedding.weight
    assert torch.cdist(vectors, codebook).amin(1).max() < 0.1
    assert torch.allclose(trainee.share, torch.full((6,), 1 / 6))


def test_only_dead_entries_are_revived_and_where_they_are_needed(trainee) -> None:
    vectors = _vectors()
    codebook = trainee.network.quantize.embedding.weight
    with torch.no_grad():
        codebook.copy_(torch.tensor([[0, 0], [4, 0], [0, 4], [4, 4], [9, 9], [50, 50]]))
    trainee.share.fill_(1 / 6)
    trainee.share[5] = 0.01
    before = codebook.detach().clone()
    trainee.revive(vectors, torch.Generator().manual_seed(0))
    assert torch.equal(codebook[:5], before[:5])
    torch.testing.assert_close(codebook[5], torch.tensor([-9.0, 2.0]), atol=0.1, rtol=0.0)
    settled = codebook.detach().clone()
    trainee.revive(vectors, torch.Generator().manual_seed(1))
    assert torch.equal(codebook, settled)


def test_reviving_survives_equal_and_broken_vectors(trainee) -> None:
    for vectors in (torch.ones(3, 2), torch.full((3, 2), float("nan"))):
        trainee.share.zero_()
        trainee.revive(vectors, torch.Generator().manual_seed(0))
        assert torch.all(trainee.share > 0.0)


def test_entries_are_moving_averages_of_what_chose_them(trainee) -> None:
    codebook = trainee.network.quantize.embedding.weight
    sums, counts = codebook.detach() / 6.0, torch.full((6,), 1 / 6)
    trainee.share.copy_(counts)
    rng = torch.Generator().manual_seed(0)
    for _ in range(3):
        vectors = torch.randn(20, 2, generator=rng)
        ids = torch.randint(0, 4, (20,), generator=rng)  # 4 and 5 are never chosen
        trainee.follow(vectors, ids)
        for entry in range(6):
            chosen = ids == entry
            counts[entry] = DECAY * counts[entry] + (1 - DECAY) * chosen.float().mean()
            total = vectors[chosen].sum(0) / 20
            sums[entry] = DECAY * sums[entry] + (1 - DECAY) * total
    torch.testing.assert_close(trainee.share, counts)
    torch.testing.assert_close(codebook.detach(), sums / counts[:, None])


def test_the_gradient_passes_to_the_encoder_but_not_to_the_codebook(workspace) -> None:
    torch.manual_seed(0)
    tokenizer = build_tokenizer(workspace.settings.tokenizer, 16)
    task = TokenizerTask(tokenizer, RecordStream(workspace, (), 0))
    batch = task.batch(0, 4)
    assert batch.shape == (4, 3, 16, 16)
    assert -1.0 <= batch.min() < batch.max() <= 1.0
    task.loss(batch, Noise(0, "test", range(4))).backward()
    assert tokenizer.model.quantize.embedding.weight.grad is None
    gradient = tokenizer.model.encoder.conv_in.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0.0


def test_a_blurred_edge_costs_more_than_an_even_error() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4:] = 1.0
    even, blurred = image + 0.05, image.clone()
    blurred[..., 3:5] = 0.5
    blurred_error = reconstruction_error(blurred, image) / (blurred - image).abs().mean()
    even_error = reconstruction_error(even, image) / (even - image).abs().mean()
    assert reconstruction_error(image, image) == 0.0
    assert blurred_error > even_error


def test_the_command_reports_what_came_of_it(workspace, monkeypatch, invoke) -> None:
    settings = asdict(workspace.settings.tokenizer)
    lines = [f"{key} = {value!r}" for key, value in settings.items()]
    toml = "[tokenizer]\n" + "\n".join(lines).replace("(", "[").replace(")", "]")
    (workspace.root / "kaleido.toml").write_text(toml, encoding="utf-8")
    monkeypatch.chdir(workspace.root)
    found = json.loads(
        invoke("train", "tokenizer", "--steps", "3", "--decoder-steps", "2", "--json").out
    )
    steps = 3 + 2  # of the whole, and of the decoder alone
    assert (found["steps"], found["images_seen"], found["resumed_at"]) == (steps, 40, 0)
    assert 0.0 < found["codebook_used"] <= 1.0
    assert found["psnr"] > 0.0
    out, _ = invoke("train", "tokenizer", "--steps", "4")
    assert "tokenizer: 6 steps, 48 records seen" in out
    assert "resumed at step 3" in out
    assert "% of the codebook used, perplexity " in out
    assert json.loads(invoke("status", "--json").out)["models"] == ["tokenizer"]


def test_finite_scalar_quantization_learns_and_resumes(workspace) -> None:
    rounded = _with(workspace, quantizer="fsq", levels=(4, 4, 4), steps=120, learning_rate=1e-2)
    first = train_tokenizer(_with(rounded, steps=1, decoder_steps=0))
    last = train_tokenizer(rounded)
    assert last.resumed_at == 1 and last.psnr > first.psnr + 3.0 and last.perplexity > 1.5
    tokenizer = _tokenizer(rounded)
    assert isinstance(tokenizer, FsqTokenizer) and tokenizer.codebook_size == 64
    (summary,) = extract(rounded, ("tokens",))
    assert summary.ok == 40
    with pytest.raises(KaleidoError) as caught:
        train_tokenizer(_with(rounded, levels=(8, 8)))
    assert "levels" in caught.value.why
