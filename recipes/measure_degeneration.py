"""Measure how the texts of a real language model degenerate with the decoding.

After "The Curious Case of Neural Text Degeneration" (Holtzman et al., arXiv 1904.09751): the model
continues passages that people wrote, and its continuations are compared with theirs. The passages
are those of Python's own manual, which every Python brings along. With --recaption the model
describes pictures that it knows by their captions alone; these are the names of emoji, which every
Python knows too.
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from collections import Counter, defaultdict
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
from pipelines.extract.captioners.base import fill_prompt
from pipelines.models.chat_template import fill_chat
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

QUESTION = 'Describe a picture of "{caption}" in two sentences.'
"""Shorter than the default of `kaleido extract descriptions`: reading it takes most of the time."""

EMOJI = (*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F6D0))
"""Code points of pictures that Unicode has named since 2015."""


def main() -> None:
    """Measure a model and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="Folder of a causal model, or a GGUF file.")
    parser.add_argument("--texts", type=int, default=200, help="Passages or captions.")
    parser.add_argument("--prompt", type=int, default=32, help="Tokens of a passage that are read.")
    parser.add_argument("--tokens", type=int, default=64, help="Tokens that are written, at most.")
    parser.add_argument("--recaption", action="store_true", help="Describe emoji by their names.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="The beginning of a decoding's name.")
    parser.add_argument("--out", type=Path, help="JSON, written after each decoding.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prompt = 0 if options.recaption else options.prompt
    degeneration = Degeneration(options.model, options.texts, prompt, options.tokens, options.seed)
    names = DECODINGS if options.recaption else (PEOPLE, *DECODINGS)
    found: dict[str, dict[str, float]] = {}
    for name in filter(lambda name: name.startswith(options.only), names):
        found[name] = degeneration.measure(name)
        text = json.dumps(found, indent=1)
        if options.out:
            atomic_write(options.out, text.encode())
    print(text)


class Degeneration:
    """A model, and passages for it to continue or captions to describe.

    A continued passage has a fixed length; a description may end before.

    Args:
        model: Folder of a causal language model, or a GGUF file.
        count: Number of texts.
        prompt: Tokens of a passage that the model reads; 0 for captions.
        length: Tokens that follow, at most.
        seed: Seed of what is drawn.

    Attributes:
        prompts: Token ids that are read, of each text.
    """

    def __init__(self, model: Path, count: int, prompt: int, length: int, seed: int) -> None:
        loaded = load_model(
            model, "AutoTokenizer", "AutoModelForCausalLM", "model", "It needs a causal model."
        )
        self._model, self._tokenizer = loaded.network, loaded.processor
        self._device, self._length, self._seed = loaded.device, length, seed
        self._people: list[list[int]] = []
        if prompt:
            whole = passages(self._tokenizer, count, prompt + length)
            self.prompts = [ids[:prompt] for ids in whole]
            self._people = [ids[prompt:] for ids in whole]
        else:
            self.prompts = questions(self._tokenizer, count)
        ends = set() if prompt else {self._tokenizer.eos_token_id}
        self._forbidden = sorted(set(self._tokenizer.all_special_ids) - ends)
        self._legal = np.setdiff1d(np.arange(self._model.config.vocab_size), self._forbidden)

    def measure(self, name: str) -> dict[str, float]:
        """Continue all prompts, and measure the continuations.

        Args:
            name: One of `DECODINGS`, or `PEOPLE` for what people wrote.

        Returns:
            ``perplexity`` under the model, the mean number of ``words``, and the metrics of
            `pipelines.core.text_measures` over the words.
        """
        by_width: dict[int, list[int]] = defaultdict(list)
        for number, ids in enumerate(self.prompts):
            by_width[len(ids)].append(number)
        texts, nats = [], []
        for alike in by_width.values():
            for group in in_batches(alike, ROWS):
                for row, each in zip(*self._continued(name, group), strict=True):
                    end = self._end(row.tolist())
                    texts.append(words(self._tokenizer.decode(row[:end], skip_special_tokens=True)))
                    nats += each[:end].tolist()
        return {
            "perplexity": float(np.exp(np.mean(nats))),
            "words": float(np.mean([len(text) for text in texts])),
            "zipf": zipf(texts),
            "rep4": float(np.mean([repetition(text, 4) for text in texts])),
            "loops": float(np.mean([loops(text) for text in texts])),
            "distinct2": distinct(texts, 2),
            "self_bleu4": self_bleu(texts, 4),
            "texts": len(texts),
        }

    def _end(self, row: Sequence[int]) -> int:
        """Return the number of tokens of a text, the one that ends it included."""
        end = self._tokenizer.eos_token_id
        return row.index(end) + 1 if end in row else len(row)

    @torch.inference_mode()
    def _continued(self, name: str, numbers: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Continue some prompts of one width.

        Returns:
            Continuations, and the nats of each of their tokens under the model's own distribution,
            both (rows, at most length). Where a text has ended, its row means nothing.
        """
        asked = torch.tensor([self.prompts[number] for number in numbers], device=self._device)
        decoding = DECODINGS.get(name)
        if isinstance(decoding, Decoding):
            rngs = [np.random.default_rng(derive(self._seed, name, str(n))) for n in numbers]
            return self._sampled(asked, rngs, decoding)
        if decoding is None:
            people = torch.tensor([self._people[n] for n in numbers], device=self._device)
            whole = torch.cat([asked, people], 1)
        else:
            whole = self._searched(asked, decoding)
        logits = self._model(input_ids=whole).logits[:, asked.shape[1] - 1 : -1]
        written = whole[:, asked.shape[1] :]
        return written, _nats(logits, written)

    def _searched(self, asked: torch.Tensor, beams: int) -> torch.Tensor:
        whole: torch.Tensor = self._model.generate(
            input_ids=asked,
            attention_mask=torch.ones_like(asked),
            num_beams=beams,
            do_sample=False,
            min_new_tokens=self._length if self._people else 1,
            max_new_tokens=self._length,
            suppress_tokens=self._forbidden,
            eos_token_id=self._tokenizer.eos_token_id,
            pad_token_id=self._tokenizer.eos_token_id,
        )
        return whole

    def _sampled(
        self, asked: torch.Tensor, rngs: Sequence[np.random.Generator], decoding: Decoding
    ) -> tuple[torch.Tensor, torch.Tensor]:
        cache = DynamicCache()
        step, written, nats = asked, [], []
        for _ in range(self._length):
            logits = self._model(input_ids=step, use_cache=True, **{CACHE: cache}).logits[:, -1]
            scores = logits.float().cpu().numpy()
            draw = partial(choose, legal=self._legal, decoding=decoding)
            drawn = [draw(row, rng=rng) for row, rng in zip(scores, rngs, strict=True)]
            step = torch.tensor(drawn, device=asked.device)[:, None]
            nats.append(_nats(logits, step[:, 0]))
            written.append(step)
        return torch.cat(written, 1), torch.stack(nats, 1)


def _nats(logits: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of each token, of the shape of `ids`."""
    flat = torch.nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), ids.flatten(), reduction="none"
    )
    return flat.view(ids.shape)


def passages(tokenizer: Any, count: int, length: int) -> list[list[int]]:
    """Return the beginnings of sections of Python's manual, as many as there are of this length.

    Returns:
        At most `count` rows of `length` token ids.
    """
    rows: list[list[int]] = []
    for text in topics.values():
        ids = tokenizer(" ".join(text.split())).input_ids
        rows += [ids[at : at + length] for at in range(0, len(ids) - length + 1, 4 * length)]
    return rows[:count]


def questions(tokenizer: Any, count: int) -> list[list[int]]:
    """Return questions about emoji, those of the most frequent lengths first.

    Questions of one length are answered together, which is several times faster.
    """
    asked = [question(tokenizer, unicodedata.name(chr(code)).lower()) for code in EMOJI]
    widths = Counter(map(len, asked))
    return sorted(asked, key=lambda ids: -widths[len(ids)])[:count]


def question(tokenizer: Any, caption: str) -> list[int]:
    """Return the token ids that ask for a description of a picture, in a chat if there is one."""
    text = fill_prompt(QUESTION, caption, tokenizer.all_special_tokens)
    if tokenizer.chat_template is None:
        ids: list[int] = tokenizer(f"{text}\n\n").input_ids
        return ids
    chat: list[int] = fill_chat(
        tokenizer,
        [
            {
                "role": "system",
                "content": "You describe pictures.",
            },  # some templates add a long one
            {"role": "user", "content": text},
        ],
        add_generation_prompt=True,
        return_dict=False,
    )
    return chat


if __name__ == "__main__":
    main()
