"""Build a prior for data: its vocabulary, its labels, and the limits of its grammar."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Progress
from pipelines.core.seeds import derive
from pipelines.latents.sequence import z_to_text
from pipelines.latents.text import SEPARATOR, escape, marker
from pipelines.latents.vocabulary import (
    encode_z,
    plain_caption,
    train_tokenizer,
)
from pipelines.models.conditioning import CONDITIONER_HEADS
from pipelines.models.lora import add_adapters
from pipelines.models.new_prior import build_prior, load_pretrained
from pipelines.models.prior import Prior
from pipelines.models.soundness import SoundnessSeen
from pipelines.train.stream import RecordStream
from pipelines.workspace.settings import PriorSettings

TOKENIZER_RECORDS = 20_000
"""Number of records from which the vocabulary is learned."""

TOKENIZED = 500
"""Captions that are tokenized together; many at once take much memory."""

MOST_LABELS = 200
"""Largest number of distinct labels of boxes and blobs that is treated as a closed set."""

_TOKEN = re.compile(r"<[^<>]*>")


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
