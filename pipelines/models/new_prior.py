"""A prior before its training: a tiny T5 of our own, or a pretrained one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import T5Config, T5ForConditionalGeneration

from pipelines.latents.vocabulary import add_special_tokens, number_ids
from pipelines.models.hub import model_folder
from pipelines.models.prior import Prior
from pipelines.models.t5.load import load_t5
from pipelines.models.t5.vocabulary import grow, smooth_numbers
from pipelines.workspace.settings import PriorSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def build_prior(
    settings: PriorSettings, tokenizer: PreTrainedTokenizerFast, labels: Sequence[str]
) -> Prior:
    """Build an untrained tiny T5 for a tokenizer that already has the special tokens of z.

    Args:
        settings: Sizes and kinds; ``pretrained`` is not used here.
        tokenizer: From `pipelines.latents.vocabulary`.
        labels: The closed set of labels, or empty.
    """
    # transformers 5.23 sizes the decoder's cache by num_layers, so both depths are equal.
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=settings.d_model,
        d_kv=settings.d_model // settings.heads,
        d_ff=settings.d_ff,
        num_layers=settings.layers,
        num_decoder_layers=settings.layers,
        num_heads=settings.heads,
        dropout_rate=settings.dropout,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,  # to transformers 5: tied, but the output is not scaled
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        # transformers initialises the embeddings, which are also the head, with deviation 1:
        # logits of deviation √d_model and a first loss of forty nats.
        model.shared.weight.mul_(settings.d_model**-0.5)
    smooth_numbers(model, number_ids(tokenizer))
    return Prior(model, tokenizer, settings.max_caption_tokens, settings.z_kinds, labels)


def load_pretrained(settings: PriorSettings, labels: Sequence[str], weights: bool = True) -> Prior:
    """Load a pretrained T5, as the paper does (``google/flan-t5-xl``), and add the tokens of z.

    The checkpoint's head is kept: T5 1.1, flan-T5 and mT5 have one of their own, T5 1.0 uses its
    embeddings. The vocabulary grows by the tokens of z, if the checkpoint lacks them.

    Unless ``encoder`` is ``trained``, the encoder is frozen, so the states of captions stay those
    of the checkpoint. It shares its embeddings with the decoder; of these (and of a tied head) only
    the rows of z's own tokens are trained, which no caption contains. Decoder blocks and an untied
    head are trained entirely.

    Args:
        settings: ``pretrained`` is a folder or a hub's name; ``dropout`` replaces the model's own.
        labels: The closed set of labels, or empty.
        weights: Read the weights; without, only the shapes count (on the meta device).

    Raises:
        KaleidoError: If there is no such model, or it is no T5 or damaged.
    """
    folder = model_folder(settings.pretrained)
    model, tokenizer = load_t5(folder, weights, dropout_rate=settings.dropout)
    known = len(tokenizer)
    add_special_tokens(tokenizer, settings.z_kinds)
    grow(model, known, len(tokenizer))
    numbers = number_ids(tokenizer)
    if min(numbers) >= known:  # a prior of ours has learned them
        smooth_numbers(model, numbers)
    prior = Prior(model, tokenizer, settings.max_caption_tokens, settings.z_kinds, labels)
    if settings.encoder == "frozen":
        prior.freeze_encoder()
    return prior
