"""Naming: while the denoiser learns to draw, it also learns to say what it draws where.

That a caption's "star" and not "circle" belongs at a patch changes the squared error of a noisy
picture by a few per cent, so a denoiser is slow to hear it. Asked for the word itself it learns it
sooner: the idea of representation alignment (REPA, arXiv 2410.06940), with the words of z instead
of another network's features. z is only the target here, so a baseline of p(x|c) learns from it as
well and still draws without.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from pipelines.models.denoiser.attention import distance


@dataclass(frozen=True)
class NamingTarget:
    """What is to be said at each patch.

    Attributes:
        words: Ids of the tokens to choose from, (words,); the first says that nothing is there.
        share: (n, patches, words), how much each word belongs to each patch; sums to 1.
        named: bool (n,), False for a row that names nothing: nothing is known of its patches.
    """

    words: torch.Tensor
    share: torch.Tensor
    named: torch.Tensor

    def repeat(self, times: int) -> NamingTarget:
        """Repeat all rows, in their order, `times` times."""
        return NamingTarget(self.words, self.share.repeat(times, 1, 1), self.named.repeat(times))


def naming_target(
    ids: torch.Tensor, places: torch.Tensor, names: torch.Tensor, nothing: int, side: int
) -> NamingTarget:
    """Find the words that speak of each patch.

    Args:
        ids: Tokens of z, (n, length).
        places: (n, length, 4), the rectangle that each token speaks of.
        names: bool (n, length), True where a token names what its rectangle holds.
        nothing: The token that stands for a patch of which no name speaks.
        side: Patches along the image's side.
    """
    rest = ids.new_tensor([nothing])
    words = torch.cat([rest, ids[names].unique()])
    is_word = (ids[..., None] == words) & names[..., None]
    here = (distance(places, side) == 0).to(places.dtype)
    share = here @ is_word.to(places.dtype)
    share[..., 0] = (share.sum(-1) == 0).to(share.dtype)
    return NamingTarget(words, share / share.sum(-1, keepdim=True), names.any(-1))


def naming_loss(said: torch.Tensor, target: NamingTarget, embeddings: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the words at each patch, a scalar in nats.

    Args:
        said: What the denoiser says, (n, patches, width).
        target: From `naming_target`, n rows.
        embeddings: Of the words, (words, width), from the frozen prior: words that it holds for
            alike are alike here.
    """
    logs = log_softmax(said @ embeddings.T, -1)
    each = -(target.share * logs).sum(-1).mean(-1)
    named = target.named.to(each.dtype)
    return (each * named).sum() / named.sum().clamp(min=1.0)
