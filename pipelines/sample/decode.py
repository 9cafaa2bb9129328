"""Sampling z ~ p(z|c): incremental decoding constrained by the grammar, without guidance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from pipelines.core.batches import in_batches
from pipelines.latents.sequence import require_kinds
from pipelines.latents.vocabulary import decode_z
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.models.t5.decoder import TokenDecoder
from pipelines.sample.choice import Decoding, choose

if TYPE_CHECKING:
    from pipelines.latents.z_grammar import Grammar

ROWS = 16
"""Rows that are always decoded together: matrix products of another height round differently, and
one different token changes the whole image. Missing rows repeat the last one."""

STEP = 32
"""Captions are padded to a multiple of this many tokens, and only those of one length share a
group, for the same reason: a row's sums must be those that it has beside any other caption."""


class Row(NamedTuple):
    """One z to draw.

    Attributes:
        caption: Encoder states of its caption, (1, length, width).
        seed: Seed of its draws.
    """

    caption: States
    seed: int


def draw_z(
    prior: Prior,
    caption: States,
    kinds: Sequence[str],
    seeds: Sequence[int],
    decoding: Decoding | None = None,
) -> list[str]:
    """Sample one z of a caption per seed, see `draw_rows`."""
    return draw_rows(prior, [Row(caption, seed) for seed in seeds], kinds, decoding)


def draw_own(prior: Prior, captions: Sequence[States], seeds: Sequence[int]) -> list[str]:
    """Sample a z of all kinds for each caption, see `draw_rows`."""
    rows = [Row(caption, seed) for caption, seed in zip(captions, seeds, strict=True)]
    return draw_rows(prior, rows, prior.z_kinds)


@torch.inference_mode()
def draw_rows(
    prior: Prior,
    rows: Sequence[Row],
    kinds: Sequence[str],
    decoding: Decoding | None = None,
    grammar: Grammar | None = None,
) -> list[str]:
    """Sample z from the prior, as text that always parses.

    Args:
        prior: The prior.
        rows: Captions and seeds; a z depends on nothing but its own.
        kinds: Kinds of z in order, among the prior's; each is drawn given the earlier ones.
        decoding: How to draw; None draws from the prior's own distribution.
        grammar: What may be written; None for all that the prior can write.

    Returns:
        One text per row.

    Raises:
        KaleidoError: If the prior was not trained on a kind.
    """
    require_kinds(kinds, prior.z_kinds, "this prior draws")
    grammar = grammar or prior.grammar(kinds)
    texts = [""] * len(rows)
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        by_length[_padded_length(row.caption)].append(number)
    for numbers in by_length.values():
        for group in in_batches(numbers, ROWS):
            padded = [rows[number] for number in [*group, *[group[-1]] * (ROWS - len(group))]]
            drawn = decode(prior, padded, grammar, decoding or Decoding())
            for number, ids in zip(group, drawn, strict=False):
                texts[number] = decode_z(prior.tokenizer, ids)
    return texts


def decode(
    prior: Prior, rows: Sequence[Row], grammar: Grammar, decoding: Decoding
) -> list[list[int]]:
    """Draw the tokens of rows together, in inference mode.

    Args:
        prior: The prior.
        rows: Captions and seeds.
        grammar: Which tokens may follow.
        decoding: How to draw.

    Returns:
        The ids of each row, its end token included.
    """
    model = prior.model
    decoder = TokenDecoder(model, together([row.caption for row in rows]))
    rngs = [np.random.default_rng(row.seed) for row in rows]
    states = [grammar.start() for _ in rows]
    drawn: list[list[int]] = [[] for _ in rows]
    texts: list[list[int]] = [[] for _ in rows]
    following = np.full(len(rows), model.config.decoder_start_token_id)
    while active := [row for row, state in enumerate(states) if not grammar.done(state)]:
        logits = decoder.step(torch.from_numpy(following).to(model.device))
        # The head of a pretrained T5 may have more rows than its tokenizer has tokens.
        scores = logits[:, : grammar.vocab_size].float().cpu().numpy()
        following = np.full(len(rows), prior.tokenizer.pad_token_id)
        for row in active:
            state, text = states[row], texts[row]
            token = choose(scores[row], grammar.legal(state), rngs[row], decoding, text)
            drawn[row].append(token)
            following[row] = token
            states[row] = grammar.step(state, token)
            in_text = grammar.in_text(state) and grammar.in_text(states[row])
            texts[row] = [*text, token] if in_text else []
    return drawn


def together(captions: Sequence[States]) -> States:
    """Join the states of captions, padded to one length."""
    values, length = captions[0].values, max(map(_padded_length, captions))
    states = values.new_zeros(len(captions), length, values.shape[-1])
    mask = torch.zeros(len(captions), length, dtype=torch.bool, device=values.device)
    for row, part in enumerate(captions):
        states[row, : part.mask.shape[1]] = part.values[0]
        mask[row, : part.mask.shape[1]] = part.mask[0]
    return States(states, mask)


def _padded_length(caption: States) -> int:
    return -(-caption.mask.shape[1] // STEP) * STEP
