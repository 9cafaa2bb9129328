"""Word loss: while the denoiser learns to draw, it also learns which words of z belong where.

Whether a caption's "star" or "circle" belongs at a patch changes the squared error of a noisy image
by a few per cent, so a denoiser is slow to learn it. Asked for the word itself, it learns it
sooner. The idea is that of representation alignment (REPA, arXiv 2410.06940), with the words of z
in place of another network's features. z is only the target here, so a baseline of p(x|c) learns
from it too and still draws without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax

from pipelines.models.denoiser.attention import Grid, rect_distance


@dataclass(frozen=True)
class WordTarget:
    """The words that belong to each patch.

    Attributes:
        words: Ids of the candidate tokens, (words,); the first stands for "no item here".
        share: (n, patches, words), how much each word belongs to each patch; sums to 1.
        known: bool (n,), False for a row whose z names nothing: it does not count in the loss.
    """

    words: torch.Tensor
    share: torch.Tensor
    known: torch.Tensor

    def repeat(self, times: int) -> WordTarget:
        """Repeat all rows, in their order, `times` times."""
        return WordTarget(self.words, self.share.repeat(times, 1, 1), self.known.repeat(times))


def word_target(
    ids: torch.Tensor, rects: torch.Tensor, names: torch.Tensor, nothing: int, grid: Grid
) -> WordTarget:
    """Find the words that belong to each patch.

    Args:
        ids: Tokens of z, (n, length).
        rects: (n, length, 4), the rectangle that each token refers to.
        names: bool (n, length), True where a token names the content of its rectangle.
        nothing: The token that stands for a patch in no named rectangle.
        grid: Rows and columns of patches.
    """
    words = torch.cat([ids.new_tensor([nothing]), ids[names].unique()])
    is_word = (ids[..., None] == words) & names[..., None]
    here = (rect_distance(rects, grid) == 0).to(rects.dtype)
    share = here @ is_word.to(rects.dtype)
    share[..., 0] = (share.sum(-1) == 0).to(share.dtype)
    return WordTarget(words, share / share.sum(-1, keepdim=True), names.any(-1))


def word_loss(
    predicted: torch.Tensor, target: WordTarget, embeddings: torch.Tensor
) -> torch.Tensor:
    """Compute the cross-entropy of the words at each patch, a scalar in nats.

    Args:
        predicted: From the denoiser's `predict_with_words`, (n, patches, width).
        target: From `word_target`, n rows.
        embeddings: The words' embeddings in the frozen prior, (words, width); words that are
            similar to the prior are similar here.
    """
    logs = log_softmax(predicted @ embeddings.T, -1)
    each = -(target.share * logs).sum(-1).mean(-1)
    known = target.known.to(each.dtype)
    return (each * known).sum() / known.sum().clamp(min=1.0)
