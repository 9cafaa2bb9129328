"""Caption, z and picture of a batch belong to the same record, and models learn the pairing."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.data.writer import ShardPlan, Source, write_data
from pipelines.extract.run import extract
from pipelines.models.conditioning import States
from pipelines.models.denoiser.network import PreparedConditioning
from pipelines.models.diffusion import build_diffusion
from pipelines.models.pixels import to_tensor
from pipelines.models.prior import Prior
from pipelines.train.diffusion import Batch, DiffusionTask
from pipelines.train.noise import Noise
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import Batch as PriorBatch
from pipelines.train.prior_task import PriorTask
from pipelines.train.stream import RecordStream
from pipelines.workspace.config import override
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import SETTINGS, adapt

COLOURS = {
    "blue": (20, 20, 230),
    "yellow": (240, 230, 30),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}
"""A bijection: the caption names a colour, the picture is of it, and so is the palette."""

SHORT = {
    "prior.steps": 80,
    "prior.learning_rate": 5e-3,
    "prior.dropout_steps": 0,
    "diffusion.image_size": 8,
}

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """Eight plain pictures of each colour, and a trained prior."""
    workspace = Workspace.init(tmp_path_factory.mktemp("pairing") / "workspace")
    settings = override(workspace.settings, {**SETTINGS, **SHORT})
    workspace = replace(workspace, settings=settings)
    records = [
        Record(f"{name}-{copy}", encode_png(np.full((8, 8, 3), colour, np.uint8)), f"all {name}")
        for copy in range(8)
        for name, colour in COLOURS.items()
    ]
    plans = [ShardPlan(at, lambda at=at: records[at : at + 16]) for at in (0, 16)]
    write_data(workspace, Source("colours", 1, {}), plans, 32)
    extract(workspace, ("palette",))
    train_prior(workspace)
    return workspace


@pytest.fixture
def prior(workspace) -> Prior:
    """The trained prior."""
    return Prior.load(workspace.models("prior"))


@pytest.fixture
def stream(workspace) -> RecordStream:
    """The records."""
    return RecordStream(workspace, ("palette",), 0)


def _one_of_each(stream: RecordStream) -> list[Record]:
    found = {record.key.split("-")[0]: record for record in stream.batch(0, stream.size)}
    return [found[name] for name in COLOURS]


def _z(record: Record) -> str:
    return f"<palette> {record.latents['palette'].to_text()}"


def test_batches_pair_what_belongs_to_a_record(workspace, prior, stream) -> None:
    model = build_diffusion(workspace.settings.diffusion, prior, ("palette",))
    records = stream.batch(5, 8)
    assert len({record.caption for record in records}) > 1

    def texts(ids: torch.Tensor) -> list[str]:
        decoded = prior.tokenizer.batch_decode(ids)
        return [text.replace("<pad>", "").replace("</s>", "").strip() for text in decoded]

    task = PriorTask(prior, stream, 0)
    batch = task.batch(5, 8)
    assert task.keys(5, 8) == [record.key for record in records]
    assert texts(batch.caption_ids) == [record.caption for record in records]
    written = prior.tokenize_z([_z(record) for record in records])
    assert len({*map(_z, records)}) == len({record.caption for record in records})
    assert torch.equal(batch.z_ids, written[0]) and torch.equal(batch.z_mask, written[1])

    stream.arrange([(8, 8)], 8)
    task = DiffusionTask(model, prior, stream, 0.1, 1, 1.0, 0)
    drawn = task.batch(5, 8)
    assert task.keys(5, 8) == [record.key for record in records]
    assert texts(drawn.caption_ids) == [record.caption for record in records]
    for z in (drawn.z, drawn.known):
        assert torch.equal(z.ids, batch.z_ids)
    for image, record in zip(drawn.images, records, strict=True):
        wanted = torch.tensor(COLOURS[record.caption.removeprefix("all ")]) / 127.5 - 1.0
        torch.testing.assert_close(image.mean((1, 2)), wanted, atol=0.01, rtol=0.0)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_prior_learns_which_z_belongs_to_a_caption(workspace, stream, tmp_path, seed) -> None:
    root = tmp_path / "workspace"
    shutil.copytree(workspace.root, root, ignore=shutil.ignore_patterns("models", "logs"))
    own = adapt(replace(workspace, root=root), prior__seed=seed)
    train_prior(own)
    prior, records = Prior.load(own.models("prior")), _one_of_each(stream)
    task = PriorTask(prior, stream, seed)
    captions = [record.caption for record in records]
    z_ids, z_mask = prior.tokenize_z([_z(record) for record in records])

    def loss(captions: list[str]) -> float:
        batch = PriorBatch(*prior.tokenize(captions), z_ids, z_mask, dropout=False)
        with torch.inference_mode():
            return task.loss(batch, Noise(0, "test", range(4))).item()

    right = loss(captions)
    assert all(right < 0.5 * loss(captions[at:] + captions[:at]) for at in range(1, len(COLOURS)))


class OneCaption(RecordStream):
    """The records with one caption for all: a z's states also depend on the caption."""

    def batch(self, start: int, count: int) -> list[Record]:
        return [replace(record, caption="all") for record in super().batch(start, count)]


class LinearModel(nn.Module):
    """Predict a plain image's colour linearly from the mean state of its condition.

    Fitting it is a convex problem, so what it learns depends on the pairing alone and not on a
    lucky seed. It stands in for `Diffusion` in the real task, with the real prior.
    """

    space = None  # it draws pixels

    def __init__(self, width: int, z_kinds: tuple[str, ...]) -> None:
        super().__init__()
        self.z_kinds = z_kinds
        self.colour = nn.Linear(2 * width if z_kinds else width, 3)

    def context(self, caption: States, z: States | None, drop: torch.Tensor) -> torch.Tensor:
        states = caption if z is None else z
        return (states.values * states.mask[..., None]).sum(1) / states.mask.sum(1)[:, None]

    def prepare(self, mean: torch.Tensor, images: torch.Tensor) -> PreparedConditioning:
        rest = mean[:, None, None]
        return PreparedConditioning(((mean[:, None], mean[:, None]),), rest, rest, rest, rest)

    def shift(self, level: torch.Tensor) -> torch.Tensor:
        return 0.9 + 0.09 * level

    def predict_with_words(
        self, noisy: torch.Tensor, sigma: torch.Tensor, prepared: PreparedConditioning
    ) -> tuple[list[torch.Tensor], None]:
        ((keys, _),) = prepared.keys_values
        return [self.colour(keys[:, 0])[:, :, None, None].expand_as(noisy)], None


@pytest.mark.parametrize("kinds", [("palette",), ()], ids=["z", "caption"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_denoiser_learns_which_image_belongs_to_its_condition(
    workspace, prior, seed, kinds
) -> None:
    stream = (OneCaption if kinds else RecordStream)(workspace, ("palette",), seed)
    stream.arrange([(8, 8)], 1)
    torch.manual_seed(seed)
    model = LinearModel(prior.width, kinds)
    task, records = DiffusionTask(model, prior, stream, 0.0, 2, 0.0, seed), _one_of_each(stream)
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for step in range(150):
        optimizer.zero_grad()
        task.loss(
            task.batch(8 * step, 8), Noise(0, "test", range(8 * step, 8 * step + 8))
        ).sum().backward()
        optimizer.step()
    images = to_tensor(np.stack([record.pixels for record in records]))

    def loss(shift: int) -> float:
        moved = records[shift:] + records[:shift]
        z = prior.read_z([_z(record) for record in moved]) if kinds else None
        captions = prior.tokenize([record.caption for record in moved])
        batch = Batch(images, *captions, z, known=None)
        with torch.inference_mode():
            return task.loss(batch, Noise(0, "test", range(4))).sum().item()

    right = loss(0)
    assert all(right < 0.5 * loss(at) for at in range(1, len(COLOURS)))
