"""Training an adapter beside tiny bases of the real classes."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pipelines.bases.adapter import KaleidoAdapter
from pipelines.bases.base import Base
from pipelines.bases.families.sana import Sana
from pipelines.bases.loop import encode
from pipelines.bases.noising import Noising
from pipelines.bases.registry import FAMILIES
from pipelines.core.errors import KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.extract.run import extract
from pipelines.models.metadata import read_metadata
from pipelines.models.z_tokens import ZTokens
from pipelines.train import adapter_cache, loop
from pipelines.train.adapter import AdapterTask, new_adapter, open_records, train_adapter
from pipelines.train.adapter_cache import Encodings
from pipelines.train.adapter_footprint import adapter_footprint
from pipelines.train.blocks import prepared_blocks
from pipelines.train.log import LOG_FILE
from pipelines.train.loop import train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions
from pipelines.workspace.settings import AdapterSettings
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told
from tests.train.conftest import adapt
from tests.train.stopper import Stopper

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = [family.name for family in FAMILIES if family.dialect == "words"]
READS_Z_SOON = ("sana", "flux2-klein", "flux1")
"""Families whose random weights let z show within a few steps."""

SETTINGS: dict[str, Any] = {
    "z_kinds": ("palette",),
    "image_size": 64,
    "inner": 16,
    "width": 32,
    "layers": 1,
    "vocab_size": 1300,
    "batch_size": 8,
    "precision": "fp32",
    "learning_rate": 1e-2,
    "warmup": 2,
    "ema": 0.0,
    "every": 1,
    "drop_condition": 0.0,
}


@pytest.fixture
def flat(workspace, write_data) -> Workspace:
    """Four pictures of two halves, with one caption: only z tells them apart."""
    colours = generator(3, "flat").integers(0, 255, size=(4, 2, 3))
    records = []
    for index, halves in enumerate(colours):
        pixels = np.repeat(halves.astype(np.uint8)[None], 64, 0).repeat(32, 1)
        meta = {"source": "fixture", "licence": "CC0-1.0", "split": "train"}
        records.append(Record(f"r{index}", encode_png(pixels), "a picture", meta))
    write_data(records, 4)
    extract(workspace, ("palette",))
    return workspace


class Trial:
    """A task on a tiny base with an adapter, and with short texts, which are faster.

    Latents get a spread of 1, as a random autoencoder makes nearly equal ones of all pictures.
    """

    def __init__(self, base: Base, workspace: Workspace, monkeypatch, **changes: Any) -> None:
        settings = AdapterSettings(**SETTINGS | changes)
        monkeypatch.setattr(type(base.family), "text_limit", 32)
        stream = open_records(workspace, settings, base.family.multiple, SILENT)
        self.adapter = new_adapter(workspace, settings, base, stream)
        self.base = replace(base, adapter=self.adapter)
        noise, drop = settings.z_noise, settings.drop_condition
        self.task = AdapterTask(self.base, [], stream, drop, 0, cache=1e9, z_noise=noise)
        self.options = TrainOptions.of(settings, workspace.settings.train)
        plain = encode(base, self.task.batch(0, 8).pixels)
        mean = plain.mean((0, 2, 3), keepdim=True)
        std = plain.std((0, 2, 3), keepdim=True)
        monkeypatch.setattr(adapter_cache, "encode", lambda b, px: (encode(b, px) - mean) / std)

    def train(self, folder: Path, steps: int) -> None:
        train(self.task, replace(self.options, steps=steps), folder / "run", {}, "adapter")

    def loss(self, shift: int = 0) -> float:
        """Return the mean loss; with a shift each picture has the z of another."""
        batch = self.task.batch(0, 4)
        z = ZTokens(*(part.roll(shift, 0) for part in batch.z))
        batch = batch._replace(z=z)
        with torch.no_grad():
            losses = [self.task.loss(batch, Noise(i, "test", range(4))) for i in range(8)]
        return float(torch.stack(losses).mean())


def test_the_adapter_is_told_of_noise_on_z(flat, loaded, monkeypatch, tmp_path):
    trial = Trial(loaded("sana"), flat, monkeypatch, z_noise=0.8)
    try:
        noise = trial.task.batch(0, 8).z.noise
        assert noise.min() < noise.max() <= 0.8
        trial.train(tmp_path, 3)
        assert trial.adapter.state_dict()["reader.refiner.noise_token"].abs().sum() > 0.0
    finally:
        trial.adapter.detach()


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_falls_with_z(name, flat, loaded, monkeypatch, tmp_path):
    base = loaded(name)
    trial = Trial(base, flat, monkeypatch)
    try:
        weights = {key: value.clone() for key, value in base.denoiser.state_dict().items()}
        before = trial.loss()
        trial.train(tmp_path, 20)
        after = trial.loss()
        assert after < 0.97 * before
        if name in READS_Z_SOON:
            trial.train(tmp_path / "more", 20)
            assert trial.loss(shift=1) > 1.02 * trial.loss()
    finally:
        trial.adapter.detach()
    now = base.denoiser.state_dict()
    assert all(torch.equal(value, now[key]) for key, value in weights.items())


def test_checkpointed_blocks_have_the_same_gradient(flat, loaded, monkeypatch):
    trial = Trial(loaded("flux2-klein"), flat, monkeypatch)
    for branch in trial.adapter.branches:
        torch.nn.init.normal_(branch.out.weight, std=0.1)

    def gradients(how: str) -> list[torch.Tensor]:
        options = replace(trial.options, gradient_checkpointing=how)
        trial.task.model.zero_grad()
        with prepared_blocks(trial.task.blocks(), options):
            trial.task.loss(trial.task.batch(0, 4), Noise(0, "test", range(4))).backward()
        return [
            value.grad.clone() for value in trial.adapter.parameters() if value.grad is not None
        ]

    try:
        plain, again = gradients("off"), gradients("on")
        assert len(plain) == len(again) > 10
        for one, other in zip(plain, again, strict=True):
            torch.testing.assert_close(one, other)
        assert trial.loss() != trial.loss(shift=1)  # the hooks are there after it as well
    finally:
        trial.adapter.detach()


def test_dropped_rows_have_the_null_condition_of_both(flat, loaded, monkeypatch):
    trial = Trial(loaded("sana"), flat, monkeypatch, drop_condition=1.0)
    seen: list[Any] = []
    predict = type(trial.base).predict
    monkeypatch.setattr(
        type(trial.base), "predict", lambda *args: seen.append(args[3]) or predict(*args)
    )
    try:
        trial.loss()
        null = trial.base.family.null(trial.base.pipe, None) | trial.adapter.null()
        for name in ("states", "mask"):
            assert all(torch.equal(row, null[name][0]) for row in seen[0][name])
        torch.testing.assert_close(seen[0]["z"][:, 0], null["z"][:, 0].expand(4, -1))
        assert seen[0]["z_mask"].sum(1).tolist() == [1] * 4
    finally:
        trial.adapter.detach()


@pytest.mark.parametrize("limit", [0.0, 1e9])
def test_what_is_kept_equals_what_is_computed(flat, loaded, limit):
    base = loaded("z-image")
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    found = Encodings(base, limit)
    for _ in range(2):
        assert torch.equal(found.latents("ab", pixels)[1:], encode(base, pixels[1:]))
        states = found.condition(["a cat", "two dogs", "a cat"])["states"]
        assert torch.equal(states[0], states[2])
        with torch.no_grad():
            assert torch.equal(states[1], base.family.encode(base.pipe, ["two dogs"])["states"][0])


def test_noise_follows_the_scheduler(loaded):
    levels = torch.tensor([0.1, 0.5, 0.9])
    sana, klein = Noising(loaded("sana")), Noising(loaded("flux2-klein"))
    middle = torch.tensor(0.5)
    torch.testing.assert_close(klein.times(levels)[1], middle)
    torch.testing.assert_close(sana.times(levels)[1], 3 * middle / (1 + 2 * middle))
    assert Noising(loaded("sdxl")).times(levels).tolist() == [100, 500, 900]
    clean, noise = torch.ones(3, 1, 1, 1), torch.zeros(3, 1, 1, 1)
    times = klein.times(levels)
    torch.testing.assert_close(klein.noisy(clean, noise, times).flatten(), 1 - times)
    torch.testing.assert_close(klein.target(clean, noise, times), noise - clean)


class TestCommand:
    """`train_adapter`, as the command calls it."""

    @pytest.fixture
    def small(self, flat, base_folder) -> Workspace:
        changes = {f"adapter__{key}": value for key, value in SETTINGS.items()}
        changes |= {"adapter__steps": 6, "adapter__batch_size": 4, "adapter__drop_condition": 0.5}
        return adapt(flat, **changes, adapter__base=str(base_folder("sana")))

    def test_a_stopped_run_resumes_to_the_same_bits(self, small, tmp_path, monkeypatch):
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0)
        other = replace(small, root=tmp_path / "other")
        shutil.copytree(small.root, other.root)
        train_adapter(small)
        with pytest.raises(KeyboardInterrupt):
            train_adapter(other, progress=Stopper(3))
        assert train_adapter(other).resumed_at == 3
        file = "diffusion_pytorch_model.safetensors"
        one, two = (load_file(w.models("adapter") / file) for w in (small, other))
        assert all(torch.equal(one[name], two[name]) for name in one)
        lines = (small.logs / "adapter" / LOG_FILE).read_text("utf-8").splitlines()
        assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6]

    def test_the_command_says_how_to_draw_with_it(self, flat, base_folder, invoke):
        base = str(base_folder("sana"))
        sizes = [f"adapter.{key}={SETTINGS[key]}" for key in ("image_size", "inner", "layers")]
        flags = [word for size in sizes for word in ("--set", size)]
        flags += ["--steps", "1", "--batch-size", "2", "--workspace", str(flat.root)]
        said = invoke("train", "adapter", "--base", base, *flags)
        assert "adapter: 1 steps, 2 records seen" in said.out
        assert f"--base {base} --adapter {flat.models('adapter')}`" in said.err
        again = invoke("train", "adapter", "--base", base, *flags, "--json")
        assert json.loads(again.out)["resumed_at"] == 1 and "Next" not in again.err

    def test_stored_states_of_captions_change_no_bit(self, small, tmp_path, monkeypatch):
        computed = replace(small, root=tmp_path / "computed")
        shutil.copytree(small.root, computed.root)
        train_adapter(computed)
        whole = adapter_footprint(small).memory["weights"]
        extract(small, ("base-states",))
        assert adapter_footprint(small).memory["weights"] < whole
        told = Told()
        monkeypatch.setattr(Sana, "encode", None)  # nothing is to be encoded
        train_adapter(small, progress=told)
        assert any("text encoders are not loaded" in each for each in told.said)
        file = "diffusion_pytorch_model.safetensors"
        one, two = (load_file(w.models("adapter") / file) for w in (small, computed))
        assert all(torch.equal(one[name], two[name]) for name in one)

    def test_states_of_other_encoders_are_not_used(self, small, base_folder):
        extract(small, ("base-states",))
        told, other = Told(), adapt(small, adapter__base=str(base_folder("sdxl")), adapter__steps=1)
        whole = adapter_footprint(other).memory["weights"]
        train_adapter(other, progress=told)
        assert any("are not used" in each for each in told.said)
        extract(other, ("base-states",))
        assert adapter_footprint(other).memory["weights"] < whole
        train_adapter(other, restart=True, progress=told)
        assert "are read" in told.said[-1]

    def test_what_is_saved_says_what_it_is_and_draws_in_a_stock_pipeline(self, small, base_folder):
        train_adapter(adapt(small, adapter__lora_rank=2))
        folder = small.models("adapter")
        card, facts = (folder / "README.md").read_text("utf-8"), read_metadata(folder, "", "")
        assert facts["records"] == 4 and facts["base"] == "sana" and facts["lora"]
        assert str(base_folder("sana").parent) not in card + json.dumps(facts)
        assert "NVIDIA" in card and "palette" in card

        pipe = diffusers.SanaPipeline.from_pretrained(base_folder("sana"))
        pipe.set_progress_bar_config(disable=True)

        def picture() -> np.ndarray:
            generator = torch.Generator().manual_seed(1)
            options = {"height": 64, "width": 64, "use_resolution_binning": False}
            found = pipe(
                "a", num_inference_steps=2, generator=generator, output_type="np", **options
            )
            return np.asarray(found.images)

        plain = picture()
        adapter = KaleidoAdapter.from_pretrained(folder).attach(pipe)
        drawn = []
        for colour in (100, 900):
            adapter.show([f"<palette> <{colour}><0><0><500>"])
            drawn.append(picture())
        assert not np.array_equal(drawn[0], plain) and not np.array_equal(*drawn)
        adapter.detach()
        np.testing.assert_array_equal(picture(), plain)

    def test_the_plan_is_made_without_weights(self, small, tmp_path):
        folder, whole = tmp_path / "configs", small.settings.adapter.base
        shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("*.safetensors"))
        small = adapt(small, adapter__base=str(folder))
        found = adapter_footprint(small)
        assert found.name == "adapter" and found.records == 4
        assert found.memory["activations"] > 10_000
        more = adapter_footprint(adapt(small, adapter__lora_rank=4))
        assert more.trainable > found.trainable
        assert more.memory["weights"] - found.memory["weights"] == 4 * (
            more.trainable - found.trainable
        )
        checkpointed = adapt(small, train__gradient_checkpointing="on")
        assert adapter_footprint(checkpointed).memory["activations"] < found.memory["activations"]

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"adapter__base": ""}, "bad-setting"),
            ({"adapter__base": "fibo"}, "bad-model"),
            ({"adapter__base": "flux1"}, "bad-model"),  # its network reads the guidance scale
            ({"adapter__image_size": 100}, "bad-setting"),
            ({"adapter__inner": 30}, "bad-setting"),
        ],
    )
    def test_what_cannot_be_trained_is_refused(self, small, base_folder, changes, code):
        if changes.get("adapter__base"):
            changes = {"adapter__base": str(base_folder(changes["adapter__base"]))}
        with pytest.raises(KaleidoError) as caught:
            train_adapter(adapt(small, **changes))
        assert caught.value.code == code
