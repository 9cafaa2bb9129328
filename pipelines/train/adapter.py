"""Train an adapter: cross-attention to z beside a frozen base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import NamedTuple, Self

import torch
from torch import nn

from pipelines.bases.adapter import KaleidoAdapter
from pipelines.bases.adapter_card import AdapterFacts, public_name, save_adapter
from pipelines.bases.adapter_lora import add_lora, lora_state
from pipelines.bases.base import Base, load_base
from pipelines.bases.conditions import join, moved, take
from pipelines.bases.family import Condition
from pipelines.bases.noising import Noising
from pipelines.bases.text_states import TextEncoders, condition_of, null_of
from pipelines.bases.trainable import open_trainable
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.seeds import derive
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.shapes import write_shape
from pipelines.models.z_tokens import ZTokens
from pipelines.train.adapter_cache import GIGABYTE, Encodings
from pipelines.train.captions import all_stored
from pipelines.train.loop import TrainSummary, train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.pictures import arrange, read_pictures
from pipelines.train.prior_task import z_text
from pipelines.train.processes import writing
from pipelines.train.stream import RecordStream
from pipelines.train.stream_task import StreamTask
from pipelines.train.untrained_prior import vocabulary_texts
from pipelines.train.z_noise import with_noise
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import AdapterSettings
from pipelines.workspace.workspace import BASE_STATES, Workspace

_READ = "The states of captions are read, and the text encoders are not loaded."
_UNUSED = (
    "The stored states of captions are not used: they are of other data, other text encoders or "
    "another precision. `kaleido extract base-states` computes those of this base."
)


class Batch(NamedTuple):
    """The records of a training step.

    Attributes:
        names: Hashes of the pictures' files.
        pixels: (n, 3, height, width), in [-1, 1]; all of one shape.
        captions: n captions.
        states: What the base reads of them, on the CPU, if it is stored.
        z: n rows.
    """

    names: tuple[str, ...]
    pixels: torch.Tensor
    captions: tuple[str, ...]
    states: Condition | None
    z: ZTokens


class Learned(nn.Module):
    """What learns: the adapter, and the low-rank adapters inside the base, if there are any."""

    def __init__(self, adapter: KaleidoAdapter, lora: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.adapter, self.lora = adapter, nn.ParameterList(lora)


class AdapterTask(StreamTask):
    """The adapter's task for the training loop: the base's own loss, with z.

    The rows of z stay with the adapter until the next batch, as gradient checkpointing computes
    blocks again in the backward pass.

    Args:
        base: The frozen base, to which the adapter is attached.
        lora: Parameters inside the base that learn too.
        stream: The training records.
        drop_condition: Probability that c and z are dropped together.
        seed: The run's seed.
        cache: Bytes of main memory for what the base makes of pictures and captions.
        z_noise: Largest amount of noise on z, see `with_noise`.
        null: Its null condition, if its text encoders are not loaded.
    """

    def __init__(
        self,
        base: Base,
        lora: Sequence[nn.Parameter],
        stream: RecordStream,
        drop_condition: float,
        seed: int,
        cache: float = 0.0,
        z_noise: float = 0.0,
        null: Condition | None = None,
    ) -> None:
        assert base.adapter is not None
        super().__init__(stream)
        self._base, self._adapter = base, base.adapter
        self.model = Learned(base.adapter, lora)
        self._drop, self._seed, self._z_noise = drop_condition, seed, z_noise
        self._noising, self._encodings = Noising(base), Encodings(base, cache, null)

    def to(self, device: torch.device) -> None:
        """Move the base and what learns to a device."""
        self._base.pipe.to(device)
        super().to(device)

    def blocks(self) -> list[nn.Module]:
        """Return the main blocks of the base, with the attention to z in them."""
        return [block.module for block in self._base.family.blocks(self._base.denoiser)]

    def held_out(self) -> tuple[Self, int]:
        """Return the task on held-out records with z as they are, and their number."""
        view, size = super().held_out()
        view._z_noise = 0.0
        return view, size

    def batch(self, start: int, count: int) -> Batch:
        """Make a batch of `count` records of the stream from `start` on."""
        pixels, records = read_pictures(self._stream, self._seed, start, count, centred=True)
        labels = self._stream.labels
        noisy, noise = with_noise(records, start, self._z_noise, self._seed, labels)
        texts = [
            z_text(record, self._adapter.config.z_kinds, self._seed, start + index)
            for index, record in enumerate(noisy)
        ]
        names = tuple(sha256(record.image).hexdigest() for record in records)
        captions = tuple(record.caption for record in records)
        z = self._adapter.tokenize(texts)._replace(noise=noise)
        states = self._stored_states(start, count) if self._stream.has_states else None
        return Batch(names, pixels, captions, states, z)

    def _stored_states(self, start: int, count: int) -> Condition:
        rows = [self._stream.stored(start + row, BASE_STATES) for row in range(count)]
        return join([condition_of(row) for row in rows])

    def loss(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Compute the mean squared error of what the base predicts."""
        drop = noise.uniform() < self._drop
        clean = self._encodings.latents(batch.names, batch.pixels)
        condition = self._condition(batch, drop) | self._adapter.read(batch.z, drop)
        times = self._noising.times(noise.levels(1).flatten())
        drawn = noise.normal(*clean.shape[1:])
        noisy = self._noising.noisy(clean, drawn, times).to(self._base.denoiser.dtype)
        predicted = self._base.predict(noisy, times, condition)
        target = self._noising.target(clean, drawn, times)
        return (predicted.float() - target).square().mean()

    def _condition(self, batch: Batch, drop: torch.Tensor) -> Condition:
        """Return the condition of captions, with null in the rows of `drop`."""
        if batch.states is None:
            found = self._encodings.condition(batch.captions)
        else:
            found = moved(batch.states, self._base.device)
        both = join([found, self._encodings.null()])
        null = len(batch.captions)
        return take(both, [null if gone else row for row, gone in enumerate(drop.tolist())])


def train_adapter(
    workspace: Workspace, restart: bool = False, progress: Progress = SILENT
) -> TrainSummary:
    """Train ``models/adapter`` with the settings of ``[adapter]``.

    Args:
        workspace: A workspace with data and latents.
        restart: Discard an unfinished run instead of resuming it.
        progress: Receives progress and messages.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If the base cannot be trained, a size does not fit, or an unfinished run has
            other settings.
    """
    settings = workspace.settings.adapter
    folder = open_trainable(settings.base)
    kinds = training_kinds(workspace, settings.z_kinds)
    checkpoint = workspace.logs / "adapter" / "checkpoint"
    with writing(workspace, "adapter", [checkpoint], restart) as ranks:
        progress = ranks.listener(progress)
        encoders = TextEncoders(folder, workspace.settings.base.dtype)
        stored = all_stored(workspace, BASE_STATES, encoders.options)
        null = null_of(encoders) if stored else None
        base = load_base(settings.base, encoders.dtype, only="pictures" if stored else "")
        side = settings.image_size or base.family.default_side(base.pipe)
        settings = replace(settings, z_kinds=kinds, image_size=side)
        stream = open_records(workspace, settings, base.family.multiple, progress)
        stream.has_states = bool(stored)
        if stored is not None:
            progress.message(_READ if stored else _UNUSED)
        base = replace(base, adapter=new_adapter(workspace, settings, base, stream))
        rank = settings.lora_rank
        lora = add_lora(base.family, base.denoiser, rank) if rank else []
        kept = weight_settings(settings, workspace.settings.train) | {
            "base": folder.identity,
            "data": stream.identity,
            "shapes": [write_shape(shape) for shape in stream.shapes],
        }
        options = TrainOptions.of(settings, workspace.settings.train)
        if settings.precision == "auto" and base.denoiser.dtype == torch.float32:
            options = replace(options, precision="fp32")
        del kept["cache"]  # the weights do not depend on it
        if not settings.z_noise:  # absent from checkpoints of versions without this setting
            del kept["z_noise"]
        cache = settings.cache * GIGABYTE
        drop, noise = settings.drop_condition, settings.z_noise
        task = AdapterTask(base, lora, stream, drop, settings.seed, cache, noise, null)
        summary = train(task, options, checkpoint, kept, "adapter", progress)
        if ranks.first:
            assert base.adapter is not None
            base.adapter.lora = lora_state(base.family, base.denoiser)
            labels = sorted(stream.labels)
            facts = AdapterFacts(stream.size, summary.images_seen, labels, stream.shapes)
            save_adapter(workspace.models("adapter"), base, facts)
    return summary


def open_records(
    workspace: Workspace, settings: AdapterSettings, multiple: int, progress: Progress
) -> RecordStream:
    """Return the training records, in buckets of one shape.

    Args:
        workspace: Where they are.
        settings: Kinds of z, size, and the batch, which holds one shape.
        multiple: Divides all sides of pictures that the base draws.
        progress: Told what is lost.

    Raises:
        KaleidoError: If the size does not fit the base.
    """
    if settings.image_size % multiple:
        near = max(1, round(settings.image_size / multiple)) * multiple
        raise KaleidoError(
            f"adapter.image_size = {settings.image_size}",
            f"the base draws sides that are multiples of {multiple} pixels.",
            f"The nearest is {near}.",
            code="bad-setting",
        )
    stream = RecordStream(workspace, settings.z_kinds, settings.seed)
    if stream.gaps:
        progress.message(stream.gaps)
    arrange(stream, settings, progress, multiple)
    return stream


def new_adapter(
    workspace: Workspace, settings: AdapterSettings, base: Base, stream: RecordStream
) -> KaleidoAdapter:
    """Make an untrained adapter with a vocabulary of the data, attached to a base.

    Raises:
        KaleidoError: If the vocabulary is too small, or widths do not fit the heads.
    """
    check_widths(settings)
    present = [kind for kind in settings.z_kinds if stream.found[kind]]
    unseen = RecordStream(workspace, settings.z_kinds, settings.seed, images=False)
    tokenizer = train_tokenizer(vocabulary_texts(unseen, present)[1], settings.vocab_size, present)
    torch.manual_seed(derive(settings.seed, "adapter weights"))
    adapter = KaleidoAdapter.of_base(
        base.family,
        base.denoiser,
        tokenizer,
        present,
        settings.every,
        width=settings.width,
        layers=settings.layers,
        inner=settings.inner,
        base=public_name(base.folder),
        z_noise=settings.z_noise > 0,
    )
    return adapter.train().attach(base.pipe)


def check_widths(settings: AdapterSettings) -> None:
    """Raise KaleidoError unless the widths can be divided among the heads."""
    heads = 4
    for name, value in (("inner", settings.inner), ("width", settings.width)):
        if value % heads:
            raise KaleidoError(
                f"adapter.{name} = {value}",
                f"it is divided among {heads} heads.",
                f"Set a multiple of {heads}.",
                code="bad-setting",
            )
