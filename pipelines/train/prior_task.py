"""The batches and the loss of a prior: cross-entropy over z written as text (L_AR of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents.sequence import z_to_text
from pipelines.latents.vocabulary import (
    number_ids,
)
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.train.captions import caption_states, read_states
from pipelines.train.noise import Noise
from pipelines.train.preference import DRAWS, Preference
from pipelines.train.schedules import draw_tokens
from pipelines.train.stream import RecordStream
from pipelines.train.stream_task import StreamTask

P_ALL_KINDS = 0.5
"""Share of training rows with every kind. The others have a random subset, so that one prior can
draw any subset."""


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


def learning_blocks(prior: Prior) -> list[nn.Module]:
    """Return the layers of a prior that learn."""
    layers = [*prior.model.encoder.block, *prior.model.decoder.block]
    return [each for each in layers if any(p.requires_grad for p in each.parameters())]
