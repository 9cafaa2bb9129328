"""Measure how the texts of a real language model degenerate with the decoding.

After "The Curious Case of Neural Text Degeneration" (Holtzman et al., arXiv 1904.09751): the model
continues passages that people wrote, and its continuations are compared with theirs. The passages
are those of Python's own manual, which every Python brings along.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache, LlamaForCausalLM

from pipelines.core.batches import in_batches
from pipelines.core.files import atomic_write
from pipelines.core.seeds import derive
from pipelines.core.text_measures import distinct, loops, repetition, self_bleu, words, zipf
from pipelines.models.hub import load_model
from pipelines.sample.choice import Decoding, choose

ROWS = 50
"""Passages that are continued together."""

CACHE = "cache" if "cache" in signature(LlamaForCausalLM.forward).parameters else "past_key_values"
"""The argument for keys and values of earlier tokens; transformers 5.24 renamed it."""

BEAMS = 4
DECODINGS: dict[str, Decoding | int] = {
    "greedy": Decoding(top_k=1),
    "nucleus, p = 0.95": Decoding(top_p=0.95),
    "pure sampling": Decoding(),
    "top-k, k = 40": Decoding(top_k=40),
    f"beam search, {BEAMS} beams": BEAMS,
}
"""Name -> how tokens are drawn, or a number of beams."""

PEOPLE = "people"


def main() -> None:
    """Measure a model and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="Folder of a causal model, or a GGUF file.")
    parser.add_argument("--passages", type=int, default=200)
    parser.add_argument("--prompt", type=int, default=40, help="Tokens that the model reads.")
    parser.add_argument("--tokens", type=int, default=100, help="Tokens that it writes.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="The beginning of a decoding's name.")
    parser.add_argument("--out", type=Path, help="JSON, written after each decoding.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    degeneration = Degeneration(
        options.model, options.passages, options.prompt, options.tokens, options.seed
    )
    found: dict[str, dict[str, float]] = {}
    for name in filter(lambda name: name.startswith(options.only), (PEOPLE, *DECODINGS)):
        found[name] = degeneration.measure(name)
        text = json.dumps(found, indent=1)
        if options.out:
            atomic_write(options.out, text.encode())
    print(text)


class Degeneration:
    """A model, and passages for it to continue.

    Args:
        model: Folder of a causal language model, or a GGUF file.
        count: Number of passages.
        prompt: Tokens of a passage that the model reads.
        length: Tokens that follow.
        seed: Seed of what is drawn.
    """

    def __init__(self, model: Path, count: int, prompt: int, length: int, seed: int) -> None:
        loaded = load_model(
            model, "AutoTokenizer", "AutoModelForCausalLM", "model", "It needs a causal model."
        )
        self._model, self._tokenizer = loaded.network, loaded.processor
        self._prompt, self._length, self._seed = prompt, length, seed
        self._passages = passages(self._tokenizer, count, prompt + length).to(loaded.device)
        self._legal = np.setdiff1d(
            np.arange(self._model.config.vocab_size), self._tokenizer.all_special_ids
        )

    def measure(self, name: str) -> dict[str, float]:
        """Continue all passages, and measure the continuations.

        Args:
            name: One of `DECODINGS`, or `PEOPLE` for what people wrote.

        Returns:
            ``perplexity`` under the model, and the metrics of `pipelines.core.text_measures`
            over the words.
        """
        numbers = range(len(self._passages))
        parts = [self._continued(name, group) for group in in_batches(numbers, ROWS)]
        rows = torch.cat([ids[:, self._prompt :] for ids, _ in parts]).tolist()
        nats = torch.cat([each for _, each in parts])
        texts = [words(self._tokenizer.decode(row)) for row in rows]
        return {
            "perplexity": float(nats.mean().exp()),
            "zipf": zipf(texts),
            "rep4": float(np.mean([repetition(text, 4) for text in texts])),
            "loops": float(np.mean([loops(text) for text in texts])),
            "distinct2": distinct(texts, 2),
            "self_bleu4": self_bleu(texts, 4),
            "texts": len(texts),
        }

    @torch.inference_mode()
    def _continued(self, name: str, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Continue some passages.

        Returns:
            Prompts and continuations, (rows, prompt + length), and the nats of each token that
            continues them, under the model's own distribution, (rows, length).
        """
        whole, decoding = self._passages[list(numbers)], DECODINGS.get(name)
        asked = whole[:, : self._prompt]
        if isinstance(decoding, Decoding):
            rngs = [np.random.default_rng(derive(self._seed, name, str(n))) for n in numbers]
            return self._sampled(asked, rngs, decoding)
        if decoding is not None:
            whole = self._model.generate(
                input_ids=asked,
                attention_mask=torch.ones_like(asked),
                num_beams=decoding,
                do_sample=False,
                min_new_tokens=self._length,
                max_new_tokens=self._length,
                suppress_tokens=self._tokenizer.all_special_ids,
                pad_token_id=self._tokenizer.eos_token_id,
            )
        logits = self._model(input_ids=whole).logits[:, self._prompt - 1 : -1]
        return whole, _nats(logits, whole[:, self._prompt :])

    def _sampled(
        self, ids: torch.Tensor, rngs: Sequence[np.random.Generator], decoding: Decoding
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cache = DynamicCache()
        step, nats = ids, []
        for _ in range(self._length):
            logits = self._model(input_ids=step, use_cache=True, **{CACHE: cache}).logits[:, -1]
            scores = logits.float().cpu().numpy()
            draw = partial(choose, legal=self._legal, decoding=decoding)
            drawn = [draw(row, rng=rng) for row, rng in zip(scores, rngs, strict=True)]
            step = torch.tensor(drawn, device=ids.device)[:, None]
            nats.append(_nats(logits, step[:, 0]))
            ids = torch.cat([ids, step], 1)
        return ids, torch.stack(nats, 1)


def _nats(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each token, of the shape of `ids`."""
    flat = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), ids.flatten(), reduction="none"
    )
    return flat.view(ids.shape)


def passages(tokenizer: Any, count: int, length: int) -> torch.Tensor:
    """Return the beginnings of sections of Python's manual, as many as there are of this length.

    Returns:
        Token ids, (n, length), n at most `count`.
    """
    rows = []
    for text in topics.values():
        ids = tokenizer(" ".join(text.split())).input_ids
        rows += [ids[at : at + length] for at in range(0, len(ids) - length + 1, 4 * length)]
    return torch.tensor(rows[:count])


if __name__ == "__main__":
    main()
