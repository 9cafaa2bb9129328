"""Prompts that are longer than what CLIP reads at once.

CLIP has 77 positions, two of them marks of beginning and end. A longer prompt is cut into chunks,
at the ends of sentences where possible; each is read on its own, and what was read is put in a row,
as the networks that draw attend to any number of states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

CLIP_TOKENS = 77
"""Tokens that CLIP reads at once, its marks included."""

CHUNKS = 8
"""Most chunks that z may take: each sentence more says less beside the others."""

_ENDS = (r"(?<=[.;] )", r"(?<=, )", r"(?<= )", "")
"""Where a text is cut, the preferred places first: sentences, clauses, words, letters."""


def count_tokens(tokenizer: Any, text: str) -> int:
    """Count the tokens of a text, marks included."""
    return len(tokenizer(text, verbose=False).input_ids)


def cut_into_chunks(tokenizer: Any, text: str) -> list[str]:
    """Cut a text into parts that CLIP reads whole; a text that fits stays as it is."""
    return _cut(tokenizer, text, _ENDS)


def _cut(tokenizer: Any, text: str, ends: Sequence[str]) -> list[str]:
    if not ends or count_tokens(tokenizer, text) <= CLIP_TOKENS:
        return [text]
    packed: list[str] = []
    for part in filter(None, re.split(ends[0], text)):
        if packed and count_tokens(tokenizer, packed[-1] + part) <= CLIP_TOKENS:
            packed[-1] += part
        else:
            packed.append(part)
    return [chunk for each in packed for chunk in _cut(tokenizer, each.strip(), ends[1:])]


def read_chunks(
    tokenizer: Any, texts: Sequence[str], read: Callable[[list[str]], tuple[torch.Tensor, ...]]
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Read texts chunk by chunk.

    Args:
        tokenizer: Counts.
        texts: One or more.
        read: Returns the states of chunks, (n, 77, width), and maybe their pooled states.

    Returns:
        The states of each text, (77 k, width) for k chunks, and the last that `read` returned, of
        the first chunk of each text: where it is a pooled state, a network expects that of one
        chunk.
    """
    cut = [cut_into_chunks(tokenizer, text) for text in texts]
    found = read([chunk for chunks in cut for chunk in chunks])
    states, firsts, start = [], [], 0
    for chunks in cut:
        states.append(found[0][start : start + len(chunks)].flatten(0, 1))
        firsts.append(start)
        start += len(chunks)
    return states, found[-1][firsts]


def stack(states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Put states of different lengths into one tensor.

    Returns:
        (n, longest, width), and a mask, (n, longest), that is 1 where there are states; None where
        all are equally long. With it a picture does not depend on the others of its batch.
    """
    longest = max(len(each) for each in states)
    if all(len(each) == longest for each in states):
        return torch.stack(list(states)), None
    found = states[0].new_zeros(len(states), longest, states[0].shape[-1])
    mask = torch.zeros(len(states), longest, device=found.device, dtype=torch.long)
    for row, each in enumerate(states):
        found[row, : len(each)], mask[row, : len(each)] = each, 1
    return found, mask
