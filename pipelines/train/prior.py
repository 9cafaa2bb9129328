"""Train the prior p(z|c) with cross-entropy over z written as text (L_AR of the paper)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import derive, generator
from pipelines.latents.sequence import z_to_text
from pipelines.latents.text import SEPARATOR, escape, marker
from pipelines.latents.vocabulary import (
    encode_z,
    number_ids,
    plain_caption,
    train_tokenizer,
)
from pipelines.models.caption_encoder import restore_encoder
from pipelines.models.conditioning import CONDITIONER_HEADS, States
from pipelines.models.hub import model_folder, model_identity
from pipelines.models.lora import add_adapters, merge_adapters
from pipelines.models.new_prior import build_prior, load_pretrained
from pipelines.models.prior import Prior
from pipelines.models.soundness import SoundnessSeen
from pipelines.train.captions import caption_states, read_states, without_encoder
from pipelines.train.finished import finished_run, note_finished
from pipelines.train.loop import TrainSummary, train
from pipelines.train.noise import Noise
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.preference import DRAWS, Draw, Preference
from pipelines.train.processes import writing
from pipelines.train.schedules import OFF, draw_tokens, replaced_share
from pipelines.train.stream import RecordStream
from pipelines.train.stream_task import StreamTask
from pipelines.workspace.inputs import training_kinds
from pipelines.workspace.settings import PriorSettings
from pipelines.workspace.workspace import Workspace

TOKENIZER_RECORDS = 20_000
"""Number of records from which the vocabulary is learned."""

TOKENIZED = 500
"""Captions that are tokenized together; many at once take much memory."""

MOST_LABELS = 200
"""Largest number of distinct labels of boxes and blobs that is treated as a closed set."""

P_ALL_KINDS = 0.5
"""Share of training rows with every kind. The others have a random subset, so that one prior can
draw any subset."""


LATER_SETTINGS = (
    "lora_rank",
    "encoder",
    "usual_z",
    "usual_share",
    "scheduled_sampling",
    "scheduled_share",
    "preference",
)
"""Settings that older checkpoints lack, where they have their defaults."""


class Batch(NamedTuple):
    """The records of a training step.

    Attributes:
        caption_ids: (n, length).
        caption_mask: bool (n, length).
        z_ids: (n, length), each row ending in the end token.
        z_mask: bool (n, length).
        dropout: Whether dropout is enabled in this step.
        states: Of the captions, (n, length, width); None if they are to be computed.
        replaced: Probability with which a token that is read is one of the prior's own, see
            `replaced_share`.
        preferred: Rows for whose captions the prior draws z itself, see `Preference`.
    """

    caption_ids: torch.Tensor
    caption_mask: torch.Tensor
    z_ids: torch.Tensor
    z_mask: torch.Tensor
    dropout: bool
    states: torch.Tensor | None = None
    replaced: float = 0.0
    preferred: tuple[int, ...] = ()


class Reworded(NamedTuple):
    """Captions in other words than those of the data, in training.

    Attributes:
        name: Identifies the wordings; a run resumes only with the same ones.
        write: (record, source of randomness) -> caption, which means what the record's does.
    """

    name: str
    write: Callable[[Record, np.random.Generator], str]


_TOKEN = re.compile(r"<[^<>]*>")


GROUPS = 8
"""Groups of rows of similar length that a CPU computes apart, rather than pad all to the longest. A
GPU takes as long for a group as for all."""


class Usual(NamedTuple):
    """What rows of training show of z, if they do not show a random subset of its kinds.

    Attributes:
        share: Share of these rows.
        kinds: The kinds that they show; empty for all.
    """

    share: float = P_ALL_KINDS
    kinds: tuple[str, ...] = ()


EVERY_KIND = Usual()
"""Half of the rows show all kinds."""


def z_text(
    record: Record, kinds: Sequence[str], seed: int, position: int, usual: Usual = EVERY_KIND
) -> str:
    """Write a record's z, with its usual kinds or a random subset of all.

    Args:
        record: A record with at least one of `kinds`.
        kinds: Kinds in order.
        seed: The run's seed.
        position: Position in the stream, so that the subset differs between epochs.
        usual: How often, and which, usual kinds are shown.
    """
    rng = generator(seed, "kinds", position)
    shown = [kind for kind in kinds if kind in record.latents]
    if len(shown) > 1 and rng.random() >= usual.share:
        keep = rng.random(len(shown)) < 0.5
        keep[rng.integers(len(shown))] = True
        shown = [kind for kind, kept in zip(shown, keep, strict=True) if kept]
    elif usual.kinds:
        shown = [kind for kind in shown if kind in usual.kinds] or shown
    return z_to_text({kind: record.latents[kind] for kind in shown})


class PriorTask(StreamTask):
    """The prior's task for the training loop.

    Args:
        prior: The prior to train.
        stream: The training records.
        seed: The run's seed.
        dropout_records: Number of records, from the start of training, with dropout enabled
            ("early dropout", arXiv 2303.01500).
        structure_weight: Loss weight of tokens other than numbers; numbers have weight 1.
        usual: What rows show of z.
        replaced: (share of the records seen) -> probability with which a token that is read is one
            of the prior's own.
        reworded: Writes the captions; None takes the data's.
        preference: Judges z of the prior's own; None draws none.
    """

    def __init__(
        self,
        prior: Prior,
        stream: RecordStream,
        seed: int,
        dropout_records: int = 0,
        structure_weight: float = 1.0,
        usual: Usual = EVERY_KIND,
        replaced: Callable[[int], float] | None = None,
        reworded: Reworded | None = None,
        preference: Preference | None = None,
    ) -> None:
        super().__init__(stream)
        self.prior, self.model = prior, prior.model
        self._seed, self._dropout_records = seed, dropout_records
        self._usual, self._replaced, self._reworded = usual, replaced, reworded
        self._preference = preference
        self.terms = 1 if preference is None else 2
        self._weights = torch.full((prior.model.config.vocab_size,), structure_weight)
        self._is_number = torch.zeros_like(self._weights, dtype=torch.bool)
        self._is_number[number_ids(prior.tokenizer)] = True
        self._weights[self._is_number] = 1.0

    def to(self, device: torch.device) -> None:
        """Move the prior and its loss weights to a device."""
        super().to(device)
        self._weights, self._is_number = self._weights.to(device), self._is_number.to(device)

    def blocks(self) -> list[nn.Module]:
        """Return the layers that learn."""
        return learning_blocks(self.prior)

    def shards(self) -> list[nn.Module]:
        """Return the layers that learn."""
        return self.blocks()

    def held_out(self) -> tuple[Self, int]:
        """Return the task on held-out records as they are, without dropout, and their number."""
        view, size = super().held_out()
        view._dropout_records = 0
        view._replaced = view._reworded = view._preference = None
        return view, size

    def batch(self, start: int, count: int) -> Batch:
        """Make a batch of `count` records of the stream from `start` on."""
        records = self._stream.batch(start, count)
        texts = [
            z_text(record, self.prior.z_kinds, self._seed, start + index, self._usual)
            for index, record in enumerate(records)
        ]
        captions = self.prior.tokenize(
            [self._caption(record, start + index) for index, record in enumerate(records)]
        )
        replaced = 0.0 if self._replaced is None else self._replaced(start)
        states = read_states(self._stream, start, captions[1]) if self._reworded is None else None
        dropout = self.has_dropout(start)
        preferred = self._preference.rows(start, count) if self._preference is not None else ()
        z = self.prior.tokenize_z(texts)
        return Batch(*captions, *z, dropout, states, replaced, preferred)

    def _caption(self, record: Record, position: int) -> str:
        if self._reworded is None:
            return record.caption
        return self._reworded.write(record, generator(self._seed, "rewording", position))

    def has_dropout(self, start: int) -> bool:
        """Whether dropout is enabled for the records from a position on."""
        return start < self._dropout_records

    def weigh(self, batch: Batch, count: int) -> tuple[float, ...]:
        """Return the weights of the batch's tokens, and of the captions that z are drawn for."""
        tokens = float((self._weights.cpu()[batch.z_ids] * batch.z_mask).sum())
        return (tokens, float(len(batch.preferred)))[: self.terms]

    def loss(self, batch: Batch, noise: Noise) -> torch.Tensor:
        """Compute the weighted mean cross-entropy of the tokens of z, in nats.

        With a preference, its loss is a second term.

        Numbers are about 70 % of the tokens and carry most of the entropy, while the other tokens
        decide which objects there are and how many. The grammar determines from the prefix whether
        a token is a number, so weighting by type does not change the optimal distribution.
        """
        self.model.train(batch.dropout)
        caption = caption_states(self.prior, batch.caption_ids, batch.caption_mask, batch.states)
        read = self._read(caption, batch, noise) if batch.replaced else batch.z_ids
        lengths = batch.z_mask.sum(1)
        groups = GROUPS if lengths.device.type == "cpu" else 1
        total = weight = torch.zeros((), device=lengths.device)
        for rows in lengths.argsort(stable=True).chunk(groups):
            shown = rows, slice(int(lengths[rows].max()))
            ids = batch.z_ids[shown]
            logits = self.prior.z_logits(caption.expand(rows), ids, read[shown])
            losses = cross_entropy(logits.transpose(1, 2), ids, reduction="none")
            weights = self._weights[ids] * batch.z_mask[shown]
            total, weight = total + (weights * losses).sum(), weight + weights.sum()
        if self.terms == 1:
            return total / weight
        preferring = torch.zeros_like(total)
        if self._preference is not None and batch.preferred:
            chances = noise.uniform(DRAWS)
            preferring = self._preference.loss(caption, batch.preferred, chances, batch.dropout)
        return torch.stack([total / weight, preferring])

    @torch.no_grad()
    def _read(self, caption: States, batch: Batch, noise: Noise) -> torch.Tensor:
        """Replace tokens of z by what the prior draws in their place, (n, length).

        The whole z is read once for it, with no gradient, and then once more with its tokens
        replaced (scheduled sampling in two parallel passes, arXiv 1906.07651). A number is replaced
        by a number alone, and another token by no number, so that places keep their meaning.
        """
        logits = self.prior.z_logits(caption, batch.z_ids)
        chance, level = noise.uniform(2, batch.z_ids.shape[1]).unbind(1)
        drawn = draw_tokens(logits.float(), level)
        same = self._is_number[drawn] == self._is_number[batch.z_ids]
        return torch.where((chance < batch.replaced) & same & batch.z_mask, drawn, batch.z_ids)


def train_prior(
    workspace: Workspace,
    restart: bool = False,
    progress: Progress = SILENT,
    reworded: Reworded | None = None,
    draw: Draw | None = None,
) -> TrainSummary:
    """Train ``models/prior`` with the settings of ``[prior]``.

    Args:
        workspace: A workspace with data and the latents of ``prior.z_kinds``.
        restart: Discard an unfinished run instead of resuming it.
        progress: Receives progress and messages.
        reworded: Writes the captions in other words; None takes the data's.
        draw: Draws z of the prior as it is; needed for ``prior.preference``.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If an unfinished run has other settings, or a size does not fit.
    """
    settings = workspace.settings.prior
    check_width(settings)
    checkpoint = workspace.logs / "prior" / "checkpoint"
    with writing(workspace, "prior", [checkpoint], restart) as ranks:
        kinds = training_kinds(workspace, settings.z_kinds)
        settings = replace(settings, z_kinds=kinds)
        progress = ranks.listener(progress)
        stream = RecordStream(workspace, kinds, settings.seed, images=False)
        kept = weight_settings(settings, workspace.settings.train) | {"data": stream.identity}
        if settings.pretrained:  # identified by its weights, not by its path
            kept["pretrained"] = model_identity(model_folder(settings.pretrained))
        for name in LATER_SETTINGS:
            if getattr(settings, name) == getattr(PriorSettings(), name):
                del kept[name]  # absent from checkpoints of versions without this setting
        if reworded is not None:
            kept["reworded"] = reworded.name
        options = TrainOptions.of(settings, workspace.settings.train)
        folder = workspace.models("prior")
        if finished := finished_run(checkpoint, folder, kept, options):
            return finished
        if stream.gaps:
            progress.message(stream.gaps)
        prior = new_prior(settings, stream, progress)
        freed = reworded is None and without_encoder(
            workspace, stream, prior, str(kept["pretrained"]), progress
        )
        task = PriorTask(
            prior,
            stream,
            settings.seed,
            settings.dropout_steps * settings.batch_size,
            settings.structure_weight,
            Usual(settings.usual_share, settings.usual_z),
            partial(_replaced_at, settings) if settings.scheduled_sampling != OFF else None,
            reworded,
            _preference(workspace, prior, draw),
        )
        summary = train(task, options, checkpoint, kept, "prior", progress)
        if ranks.first:
            if settings.lora_rank:
                merge_adapters(prior)
            if freed:
                restore_encoder(prior, model_folder(settings.pretrained))
            prior.save(folder)
            note_finished(checkpoint, folder, summary)
    return summary


def _preference(workspace: Workspace, prior: Prior, draw: Draw | None) -> Preference | None:
    weight = workspace.settings.prior.preference
    if not weight:
        return None
    if workspace.settings.train.fsdp == "on":
        raise KaleidoError(
            f"prior.preference = {weight:g}",
            "z cannot be drawn while the weights are divided among processes.",
            "Set prior.preference to 0, or train.fsdp to off.",
            code="bad-setting",
        )
    if draw is None:
        raise ValueError("prior.preference needs something that draws z")
    return Preference(prior, weight, draw)


def learning_blocks(prior: Prior) -> list[nn.Module]:
    """Return the layers of a prior that learn."""
    layers = [*prior.model.encoder.block, *prior.model.decoder.block]
    return [each for each in layers if any(p.requires_grad for p in each.parameters())]


def _replaced_at(settings: PriorSettings, start: int) -> float:
    done = start / (settings.steps * settings.batch_size)
    return replaced_share(settings.scheduled_sampling, settings.scheduled_share, done)


def check_width(settings: PriorSettings) -> None:
    """Raise KaleidoError unless the denoiser's context can read a prior of this width."""
    if not settings.pretrained and settings.d_model % CONDITIONER_HEADS:
        raise KaleidoError(
            f"prior.d_model = {settings.d_model}",
            f"the conditioner attends to it with {CONDITIONER_HEADS} heads.",
            f"Set a multiple of {CONDITIONER_HEADS}.",
            code="bad-setting",
        )


def new_prior(
    settings: PriorSettings, stream: RecordStream, progress: Progress, weights: bool = True
) -> Prior:
    """Build a prior for the data: vocabulary, labels, and limits of the grammar.

    Args:
        settings: Sizes, and kinds in order.
        stream: Records.
        progress: Receives messages.
        weights: Read the weights of a pretrained model, see `Prior.load`.
    """
    present = tuple(kind for kind in settings.z_kinds if stream.found[kind])
    # More labels than this are treated as free text: z may then contain any label.
    labels = sorted(stream.labels) if len(stream.labels) <= MOST_LABELS else ()
    absent = tuple(kind for kind in settings.z_kinds if kind not in present)
    settings = replace(settings, z_kinds=present)
    progress.message("reading captions")
    seen = SoundnessSeen()
    captions, texts = vocabulary_texts(stream, present, seen)
    torch.manual_seed(derive(settings.seed, "prior weights"))
    if settings.pretrained:
        prior = load_pretrained(settings, labels, weights)
    else:
        tokenizer = train_tokenizer(texts, settings.vocab_size, present)
        prior = build_prior(settings, tokenizer, labels)
    if settings.lora_rank:
        add_adapters(prior, settings.lora_rank)
    prior.absent_kinds = absent
    if len(stream.token_shapes) == 1:
        (prior.token_shape,) = stream.token_shapes
    prior.codebook, prior.soundness = stream.codebook, seen.result()
    _widen_grammar(prior, stream)
    if line := long_captions(prior, captions, stream.size):
        progress.message(line)
    return prior


def shaped_prior(settings: PriorSettings) -> Prior:
    """Build a prior of the settings' sizes without any data; on the meta device only shapes count.

    Args:
        settings: Sizes, and kinds in order.
    """
    if settings.pretrained:
        prior = load_pretrained(settings, (), weights=False)
    else:
        tokenizer = train_tokenizer([""], settings.vocab_size, settings.z_kinds)
        prior = build_prior(settings, tokenizer, ())
        size = max(settings.vocab_size, len(tokenizer))
        prior.model.resize_token_embeddings(size, mean_resizing=False)
    if settings.lora_rank:
        add_adapters(prior, settings.lora_rank)
    return prior


def long_captions(prior: Prior, captions: Sequence[str], size: int) -> str:
    """Return a sentence about captions that the prior truncates; empty if there are none.

    Args:
        prior: Truncates captions to `Prior.max_caption_tokens`.
        captions: Captions of the first training records.
        size: Number of all training records.
    """
    plain = map(plain_caption, captions)
    encoded = (prior.tokenizer(batch).input_ids for batch in in_batches(plain, TOKENIZED))
    cut = sum(len(ids) > prior.max_caption_tokens for batch in encoded for ids in batch)
    if not cut:
        return ""
    which = "" if len(captions) == size else "first "
    return (
        f"{cut:,} of the {which}{len(captions):,} captions are longer than "
        f"{prior.max_caption_tokens} tokens and are truncated; see prior.max_caption_tokens."
    )


def _widen_grammar(prior: Prior, stream: RecordStream) -> None:
    """Allow labels and descriptions as long as those of the training data."""
    if not prior.labels:
        labels = (f"{SEPARATOR} {escape(label)}" for label in stream.labels)
        prior.max_label_tokens = max(prior.max_label_tokens, _most_tokens(prior, labels))
    most = _most_tokens(prior, (f"{marker('description')} {text}" for text in stream.longest))
    if most > prior.max_description_tokens:
        # The text with the most characters need not be the one with the most tokens.
        prior.max_description_tokens = math.ceil(1.25 * most)


def _most_tokens(prior: Prior, texts: Iterable[str]) -> int:
    """Return the largest number of tokens of a text, without the start token."""
    return max((len(encode_z(prior.tokenizer, text)) - 1 for text in texts), default=0)


def vocabulary_texts(
    stream: RecordStream, kinds: Sequence[str], seen: SoundnessSeen | None = None
) -> tuple[list[str], list[str]]:
    """Read the first records: captions, and the texts from which the vocabulary is learned."""
    captions: list[str] = []
    texts: list[str] = []
    for position in range(min(stream.size, TOKENIZER_RECORDS)):
        (record,) = stream.batch(position, 1)
        z = z_to_text({kind: record.latents[kind] for kind in kinds if kind in record.latents})
        if seen is not None:
            seen.add(record.latents)
        captions.append(record.caption)
        # The tokens of z, such as numbers, are always in the vocabulary.
        texts += [record.caption, _TOKEN.sub(" ", z)]
    return captions, texts
