"""Measure the drawing of z: tokens a CPU second beside transformers' `generate`, and its parts.

With the shipped prior on one thread, 16 rows, boxes, blobs and palette. Three things, each in turns
within one run: ours and `generate`, without and with the grammar (aim: 1.8 times); the share of the
grammar (aim: at most a tenth); one z of each of eight captions beside eight z of one (aim: 1.3
times its time). `nox -s bench -- decoding`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from _paired import in_turns, show
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from pipelines.embedded.paths import embedded_path
from pipelines.latents.z_grammar import Grammar, State
from pipelines.models.prior import Prior
from pipelines.sample.choice import Decoding
from pipelines.sample.decode import ROWS, Row, decode
from pipelines.sample.draw import draw_z_each
from pipelines.scenes.heldout import fresh_captions
from pipelines.workspace.settings import SampleSettings

KINDS = ("boxes", "blobs", "palette")
CAPTION, LENGTH, ROUNDS = "two red circles and a blue star", 120, 5


class Free:
    """Stands for a grammar that allows every token, for rows of one length."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self._legal = vocab_size, np.arange(vocab_size)

    def start(self) -> int:
        """Number of tokens at first."""
        return 0

    def done(self, state: int) -> bool:
        """Whether the row is long enough."""
        return state == LENGTH

    def in_text(self, state: int) -> bool:
        """No rule against repetition applies."""
        return False

    def legal(self, state: int) -> np.ndarray:
        """Every token."""
        return self._legal

    def step(self, state: int, token: int) -> int:
        """One token more."""
        return state + 1


class Held(LogitsProcessor):
    """Our grammar as transformers would be given it."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar, self._states = grammar, [grammar.start() for _ in range(ROWS)]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave out what is illegal."""
        if input_ids.shape[1] > 1:
            last = input_ids[:, -1].tolist()
            pairs = zip(self._states, last, strict=True)
            self._states = [self._grammar.step(state, token) for state, token in pairs]
        legal = torch.from_numpy(self._grammar.mask(self._states))
        return scores[:, : self._grammar.vocab_size].masked_fill(~legal, -torch.inf)


class Timed:
    """A grammar that counts the CPU seconds spent in it."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar, self.seconds, self.vocab_size = grammar, 0.0, grammar.vocab_size
        for name in ("start", "done", "in_text", "legal", "step"):
            setattr(self, name, partial(self._call, getattr(grammar, name)))

    def _call(self, function: object, *arguments: State | int) -> object:
        start = time.process_time()
        found = function(*arguments)
        self.seconds += time.process_time() - start
        return found


@torch.inference_mode()
def main() -> None:
    """Print rates, shares and ratios."""
    torch.set_num_threads(1)
    prior = Prior.load(embedded_path("prior"))
    encoded = prior.encode([CAPTION])
    rows = [Row(encoded, seed) for seed in range(ROWS)]
    free, grammar = Free(len(prior.tokenizer)), prior.grammar(KINDS)
    beside_generate(prior, rows, free, grammar)
    share_of_grammar(prior, rows, grammar)
    captions_together(prior)


def beside_generate(prior: Prior, rows: Sequence[Row], free: Free, grammar: Grammar) -> None:
    """Time both, without and with the grammar."""
    encoded = rows[0].caption
    asked = {
        "encoder_outputs": BaseModelOutput(encoded.values.expand(ROWS, -1, -1)),
        "attention_mask": encoded.mask.expand(ROWS, -1).long(),
        "do_sample": True,
        "top_k": 0,
    }
    fixed = {"min_new_tokens": LENGTH, "max_new_tokens": LENGTH}
    works = {
        "generate": lambda: prior.model.generate(**asked, **fixed, eos_token_id=[]),
        "ours": lambda: decode(prior, rows, free, Decoding()),
    }
    show(in_turns(works, ROUNDS, time.process_time), "generate", "tokens", ROWS * LENGTH)
    counts: dict[str, list[int]] = {"generate, grammar": [], "ours, grammar": []}

    def of_generate() -> None:
        held = LogitsProcessorList([Held(grammar)])
        ids = prior.model.generate(**asked, max_new_tokens=1000, logits_processor=held)
        counts["generate, grammar"].append(int((ids != prior.tokenizer.pad_token_id).sum()))

    def of_ours() -> None:
        drawn = decode(prior, rows, grammar, Decoding())
        counts["ours, grammar"].append(sum(map(len, drawn)))

    times = in_turns(
        {"generate, grammar": of_generate, "ours, grammar": of_ours}, ROUNDS, time.process_time
    )
    rates = {
        name: [count / t for count, t in zip(counts[name][1:], values, strict=True)]
        for name, values in times.items()
    }
    ratios = [
        o / t for o, t in zip(rates["ours, grammar"], rates["generate, grammar"], strict=True)
    ]
    print({name: round(statistics.median(values)) for name, values in rates.items()}, "tokens/s")
    print(f"with the grammar {statistics.median(ratios):.2f} x", [round(r, 2) for r in ratios])


def share_of_grammar(prior: Prior, rows: Sequence[Row], grammar: Grammar) -> None:
    """Compare the time spent in the grammar with all of it; the clock's own calls count too."""
    shares = []
    for _ in range(ROUNDS):
        timed, start = Timed(grammar), time.process_time()
        decode(prior, rows, timed, Decoding())
        shares.append(timed.seconds / (time.process_time() - start))
    print(f"share of the grammar {statistics.median(shares):.3f}", [round(s, 3) for s in shares])


def captions_together(prior: Prior) -> None:
    """Time one z of each of eight captions, and eight z of one: the mean over the same captions."""
    captions, settings = fresh_captions(8), SampleSettings(z_candidates=1)

    def drawn(asked: Sequence[str], count: int) -> None:
        list(draw_z_each(prior, asked, KINDS, settings, count))

    works = {"8 x 1": partial(drawn, captions, 1)}
    works |= {caption: partial(drawn, [caption], 8) for caption in captions}
    times = in_turns(works, ROUNDS, time.process_time)
    together = times.pop("8 x 1")
    ratios = [
        whole / statistics.mean(single)
        for whole, *single in zip(together, *times.values(), strict=True)
    ]
    print(
        f"8 captions x 1 beside 1 x 8: {statistics.median(ratios):.2f}",
        [round(r, 2) for r in ratios],
    )


if __name__ == "__main__":
    main()
