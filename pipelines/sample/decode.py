"""Sampling z ~ p(z|c): incremental decoding constrained by the grammar, without guidance."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import DynamicCache, EncoderDecoderCache, T5ForConditionalGeneration

from pipelines.core.errors import KaleidoError
from pipelines.latents.sequence import require_kinds
from pipelines.latents.vocabulary import decode_z
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior

if TYPE_CHECKING:
    from pipelines.latents.z_grammar import Grammar

ROWS = 16
"""Rows that are always decoded together: matrix products of another height round differently, and
one different token changes the whole image. Missing rows repeat the last one."""

_PARAMETERS = signature(T5ForConditionalGeneration.forward).parameters
CACHE = "cache" if "cache" in _PARAMETERS else "past_key_values"
"""T5's argument for keys and values of earlier tokens; transformers 5.24 renamed it."""


@torch.inference_mode()
def draw_z(
    prior: Prior,
    caption: States,
    kinds: Sequence[str],
    seeds: Sequence[int],
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> list[str]:
    """Sample one z per seed from the prior, as text that always parses.

    Args:
        prior: The prior.
        caption: Encoder states of one caption, (1, length, width).
        kinds: Kinds of z in order, among the prior's; each is drawn given the earlier ones.
        seeds: One seed per row; a row depends on its own seed only.
        temperature: Divides the logits; 1 samples from the model's distribution.
        top_p: Nucleus sampling (arXiv 1904.09751) among the legal tokens: keeps the smallest set
            whose mass reaches this. 1 keeps all.

    Returns:
        One text per seed.

    Raises:
        KaleidoError: If the prior was not trained on a kind, or a number is out of range.
    """
    require_kinds(kinds, prior.z_kinds, "this prior draws")
    if temperature <= 0.0 or not 0.0 < top_p <= 1.0:
        raise KaleidoError(
            f"temperature {temperature:g}, top_p {top_p:g}",
            "temperature must be above 0, and top_p in (0, 1].",
            code="bad-setting",
        )
    grammar = prior.grammar(kinds)
    texts: list[str] = []
    for start in range(0, len(seeds), ROWS):
        chunk = list(seeds[start : start + ROWS])
        padded = chunk + [chunk[-1]] * (ROWS - len(chunk))
        rows = _decode(prior, caption, grammar, padded, temperature, top_p)
        texts.extend(rows[: len(chunk)])
    return texts


def _decode(
    prior: Prior,
    caption: States,
    grammar: Grammar,
    seeds: Sequence[int],
    temperature: float,
    top_p: float,
) -> list[str]:
    model, count = prior.model, len(seeds)
    encoded = caption.values.expand(count, -1, -1)
    mask = caption.mask.expand(count, -1).long()
    rngs = [np.random.default_rng(seed) for seed in seeds]
    states = [grammar.start() for _ in seeds]
    drawn: list[list[int]] = [[] for _ in seeds]
    ids = torch.full((count, 1), model.config.decoder_start_token_id, device=model.device)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())  # grows in place
    while not all(grammar.done(state) for state in states):
        output = model(
            encoder_outputs=(encoded,),
            attention_mask=mask,
            decoder_input_ids=ids,
            use_cache=True,
            **{CACHE: cache},
        )
        # The head of a pretrained T5 may have more rows than its tokenizer has tokens.
        last = output.logits[:, -1, : grammar.vocab_size]
        logits = last.float().cpu().double().numpy() / temperature
        legal = grammar.mask(states)
        following = np.full(count, prior.tokenizer.pad_token_id)
        for row, state in enumerate(states):
            if grammar.done(state):
                continue
            token = _choose(logits[row], legal[row], rngs[row], top_p)
            drawn[row].append(token)
            states[row] = grammar.step(state, token)
            following[row] = token
        ids = torch.from_numpy(following)[:, None].to(model.device)
    return [decode_z(prior.tokenizer, row) for row in drawn]


def _choose(logits: np.ndarray, legal: np.ndarray, rng: np.random.Generator, top_p: float) -> int:
    """Sample one legal token with the Gumbel-max trick.

    Noise is drawn for the whole vocabulary each time, so that a row's random stream does not depend
    on which tokens were legal.
    """
    gumbel = rng.gumbel(size=len(logits))
    scores = np.where(legal, logits, -np.inf)
    if top_p < 1.0:
        order = np.argsort(-scores)
        mass = np.exp(scores[order] - scores[order[0]])
        before = np.cumsum(mass) - mass
        scores[order[before >= top_p * mass.sum()]] = -np.inf
    return int(np.argmax(scores + gumbel))
