"""ZTokens: a tokenized z, with what each of its tokens refers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from pipelines.models.conditioning import EVERYWHERE

if TYPE_CHECKING:
    from pipelines.latents.grounding import Grounding


class ZTokens(NamedTuple):
    """A batch of tokenized z, on the CPU until its tensors move to the model's device together.

    Attributes:
        ids: (n, length), each row ending in the end token, padded.
        mask: bool (n, length).
        rects: (n, length, 4), see `States`.
        grounded: bool (n, length), see `States`.
        colours: (n, length, 4), see `States`.
        names: bool (n, length), see `States`.
        noise: (n,), see `States`.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    rects: torch.Tensor
    grounded: torch.Tensor
    colours: torch.Tensor
    names: torch.Tensor
    noise: torch.Tensor


def ground(ids: torch.Tensor, mask: torch.Tensor, grounding: Grounding) -> ZTokens:
    """Find the region and the colour that each token of a z without noise refers to.

    Args:
        ids: (n, length), each row ending in the end token, padded.
        mask: bool (n, length).
        grounding: Reads ids of the same tokenizer.
    """
    rows = ids.tolist()
    found = [grounding.rects(row) for row in rows]
    rects = torch.tensor([[rect or EVERYWHERE for rect in row] for row in found])
    grounded = torch.tensor([[rect is not None for rect in row] for row in found])
    colours = torch.tensor([grounding.colours(row) for row in rows])
    words = torch.tensor([grounding.are_words(row) for row in rows])
    return ZTokens(ids, mask, rects, grounded, colours, words & grounded, torch.zeros(len(rows)))
