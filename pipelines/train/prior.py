"""Training the prior p(z|c): cross-entropy over z written as text (L_AR of the paper)."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from pipelines.core.errors import KaleidoError
from pipelines.core.files import check_replaceable
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.seeds import derive, generator
from pipelines.latents.sequence import order_kinds, z_to_text
from pipelines.latents.text import SEPARATOR, escape, marker
from pipelines.latents.vocabulary import (
    encode_z,
    number_ids,
    plain_caption,
    train_tokenizer,
)
from pipelines.models.conditioning import CONDITIONER_HEADS
from pipelines.models.hub import model_folder, model_identity
from pipelines.models.prior import Prior, build_prior, load_pretrained
from pipelines.train.checkpoint import drop_checkpoint
from pipelines.train.finished import finished_run, note_finished
from pipelines.train.loop import TrainSummary, train
from pipelines.train.options import TrainOptions, weight_settings
from pipelines.train.processes import require_one_process
from pipelines.train.stream import RecordStream
from pipelines.train.task import Task
from pipelines.workspace.settings import PriorSettings
from pipelines.workspace.workspace import Workspace

TOKENIZER_RECORDS = 20_000
"""Records from which a vocabulary is learned."""

MOST_LABELS = 200
"""Labels of boxes and blobs, up to which they count as a closed set."""

P_ALL_KINDS = 0.5
"""Share of training rows that show every kind; the others show a random subset, so that one prior
can be asked for any subset."""


class Batch(NamedTuple):
    """Records of a step.

    Attributes:
        caption_ids: (n, length).
        caption_mask: bool (n, length).
        z_ids: (n, length), each row ending in the end token.
        z_mask: bool (n, length).
        dropout: Whether they are seen with dropout.
    """

    caption_ids: torch.Tensor
    caption_mask: torch.Tensor
    z_ids: torch.Tensor
    z_mask: torch.Tensor
    dropout: bool


_TOKEN = re.compile(r"<[^<>]*>")


def z_text(record: Record, kinds: Sequence[str], seed: int, position: int) -> str:
    """Write a record's z, with a random subset of its kinds (`P_ALL_KINDS`).

    Args:
        record: A record that has some of `kinds`.
        kinds: Kinds in order.
        seed: The run's seed.
        position: Position in the stream, so that the subset differs from epoch to epoch.
    """
    rng = generator(seed, "kinds", position)
    shown = [kind for kind in kinds if kind in record.latents]
    if len(shown) > 1 and rng.random() >= P_ALL_KINDS:
        keep = rng.random(len(shown)) < 0.5
        keep[rng.integers(len(shown))] = True
        shown = [kind for kind, kept in zip(shown, keep, strict=True) if kept]
    return z_to_text({kind: record.latents[kind] for kind in shown})


class PriorTask(Task):
    """What the prior brings to the loop.

    Args:
        prior: It learns.
        stream: Records.
        seed: The run's seed.
        dropout_records: Records at the beginning that are seen with dropout ("early dropout",
            arXiv 2303.01500).
        structure_weight: Weight of the tokens that are no numbers, which have 1.
    """

    def __init__(
        self,
        prior: Prior,
        stream: RecordStream,
        seed: int,
        dropout_records: int = 0,
        structure_weight: float = 1.0,
    ) -> None:
        self.prior, self.model = prior, prior.model
        self._stream, self._seed, self._dropout_records = stream, seed, dropout_records
        self._weights = torch.full((prior.model.config.vocab_size,), structure_weight)
        self._weights[number_ids(prior.tokenizer)] = 1.0

    def to(self, device: torch.device) -> None:
        """Move the prior and the weights of its loss."""
        super().to(device)
        self._weights = self._weights.to(device)

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of records `start` to ``start + count`` of the stream."""
        return self._stream.keys(start, count)

    def batch(self, start: int, count: int) -> Batch:
        """Records `start` to ``start + count`` of the stream."""
        records = self._stream.batch(start, count)
        texts = [
            z_text(record, self.prior.z_kinds, self._seed, start + index)
            for index, record in enumerate(records)
        ]
        captions = self.prior.tokenize([record.caption for record in records])
        dropout = start < self._dropout_records
        return Batch(*captions, *self.prior.tokenize_z(texts), dropout)

    def loss(self, batch: Batch, rng: torch.Generator) -> torch.Tensor:
        """Weighted mean of the cross-entropy of the tokens of z, in nats.

        Numbers are seven tokens in ten and carry most of the entropy; which objects there are, and
        how many, is said by the others. What comes before a token tells whether it can be a number,
        so weights by kind of token leave the distribution that is learned the same.
        """
        self.model.train(batch.dropout)
        caption = self.prior.encode_ids(batch.caption_ids, batch.caption_mask)
        logits = self.prior.z_logits(caption, batch.z_ids)
        losses = cross_entropy(logits.transpose(1, 2), batch.z_ids, reduction="none")
        weights = self._weights[batch.z_ids] * batch.z_mask
        return (weights * losses).sum() / weights.sum()


def train_prior(
    workspace: Workspace, restart: bool = False, progress: Progress = SILENT
) -> TrainSummary:
    """Train ``models/prior`` by the settings of ``[prior]``.

    Args:
        workspace: With data and the latents of ``prior.z_kinds``.
        restart: Forget an unfinished run instead of going on with it.
        progress: Listener.

    Raises:
        InputMissing: If data or latents are missing.
        KaleidoError: If an unfinished run has other settings, or a size does not fit.
    """
    require_one_process("prior")
    settings = workspace.settings.prior
    kinds = order_kinds(settings.z_kinds)
    settings = replace(settings, z_kinds=kinds)
    _check_width(settings)
    checkpoint = workspace.logs / "prior" / "checkpoint"
    with workspace.lock("models/prior"):
        check_replaceable(workspace.models("prior"))
        if restart:
            drop_checkpoint(checkpoint)
        stream = RecordStream(workspace, kinds, settings.seed, images=False)
        kept = weight_settings(settings) | {"data": stream.identity}
        if settings.pretrained:  # the weights count, not the path
            kept["pretrained"] = model_identity(model_folder(settings.pretrained))
        options, folder = TrainOptions.of(settings), workspace.models("prior")
        if finished := finished_run(checkpoint, folder, kept, options):
            return finished
        if stream.gaps:
            progress.message(stream.gaps)
        prior = _new_prior(settings, stream, progress)
        dropout_records = settings.dropout_steps * settings.batch_size
        task = PriorTask(prior, stream, settings.seed, dropout_records, settings.structure_weight)
        summary = train(task, options, checkpoint, kept, "prior", progress)
        prior.save(folder)
        note_finished(checkpoint, folder, summary)
    return summary


def _check_width(settings: PriorSettings) -> None:
    if not settings.pretrained and settings.d_model % CONDITIONER_HEADS:
        raise KaleidoError(
            f"prior.d_model = {settings.d_model}",
            f"the denoiser's context reads it with {CONDITIONER_HEADS} heads.",
            f"Set a multiple of {CONDITIONER_HEADS}.",
        )


def _new_prior(settings: PriorSettings, stream: RecordStream, progress: Progress) -> Prior:
    """Build the prior that the data need: vocabulary, labels, and limits of its grammar."""
    present = tuple(kind for kind in settings.z_kinds if stream.found[kind])
    # Very many labels are free text; then z may contain any label.
    labels = sorted(stream.labels) if len(stream.labels) <= MOST_LABELS else ()
    absent = tuple(kind for kind in settings.z_kinds if kind not in present)
    settings = replace(settings, z_kinds=present)
    progress.message("reading captions")
    captions, texts = _texts(stream, present)
    torch.manual_seed(derive(settings.seed, "prior weights"))
    if settings.pretrained:
        prior = load_pretrained(settings, labels)
    else:
        tokenizer = train_tokenizer(texts, settings.vocab_size, present)
        prior = build_prior(settings, tokenizer, labels)
    prior.absent_kinds = absent
    if len(stream.token_shapes) == 1:
        (prior.token_shape,) = stream.token_shapes
    prior.codebook = stream.codebook
    _widen_grammar(prior, stream)
    if line := long_captions(prior, captions, stream.size):
        progress.message(line)
    return prior


def long_captions(prior: Prior, captions: Sequence[str], size: int) -> str:
    """Return a sentence about captions that the prior cuts; empty if there are none.

    Args:
        prior: Cuts captions beyond `Prior.max_caption_tokens`.
        captions: Those that were read.
        size: Number of training records, of which they are the first ones.
    """
    encoded = prior.tokenizer([plain_caption(caption) for caption in captions]).input_ids
    cut = sum(len(ids) > prior.max_caption_tokens for ids in encoded)
    if not cut:
        return ""
    which = "" if len(captions) == size else "first "
    return (
        f"{cut:,} of the {which}{len(captions):,} captions are longer than "
        f"{prior.max_caption_tokens} tokens and are cut; see prior.max_caption_tokens."
    )


def _widen_grammar(prior: Prior, stream: RecordStream) -> None:
    """Let a prior draw labels and descriptions as long as those of its data."""
    if not prior.labels:
        labels = (f"{SEPARATOR} {escape(label)}" for label in stream.labels)
        prior.max_label_tokens = max(prior.max_label_tokens, _most_tokens(prior, labels))
    most = _most_tokens(prior, (f"{marker('description')} {text}" for text in stream.longest))
    if most > prior.max_description_tokens:
        # The text with most characters of a shard need not be the one with most tokens.
        prior.max_description_tokens = math.ceil(1.25 * most)


def _most_tokens(prior: Prior, texts: Iterable[str]) -> int:
    """Return the most tokens of a text, without the one that opens it."""
    return max((len(encode_z(prior.tokenizer, text)) - 1 for text in texts), default=0)


def _texts(stream: RecordStream, kinds: Sequence[str]) -> tuple[list[str], list[str]]:
    """Read the first records: their captions, and the texts from which a vocabulary is learned."""
    captions: list[str] = []
    texts: list[str] = []
    for position in range(min(stream.size, TOKENIZER_RECORDS)):
        (record,) = stream.batch(position, 1)
        z = z_to_text({kind: record.latents[kind] for kind in kinds if kind in record.latents})
        captions.append(record.caption)
        # The tokens of z, numbers above all, are in the vocabulary anyway.
        texts += [record.caption, _TOKEN.sub(" ", z)]
    return captions, texts
