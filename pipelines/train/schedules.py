"""Schedules of scheduled sampling (arXiv 1506.03099): how much of z the prior reads of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

DECAY = 100.0
"""k of both curves: what is kept at the end is 1/k, or 1/(1 + k)."""

KEPT: Mapping[str, Callable[[float], float]] = {
    "linear": lambda done: 1.0 - done,
    "exponential": lambda done: DECAY**-done,
    "inverse-sigmoid": lambda done: DECAY / (DECAY + DECAY ** (2.0 * done)),
}
"""Name -> (share of the training that is done) -> ε, the probability that a token is kept."""

OFF = "off"


def replaced_share(schedule: str, most: float, done: float) -> float:
    """Return the probability with which a token that the prior reads is one of its own.

    Args:
        schedule: ``off``, or one of `KEPT`.
        most: What ``1 - ε`` is multiplied by: the probability at the end.
        done: Share of the training that is done; more than 1 counts as 1.
    """
    return 0.0 if schedule == OFF else most * (1.0 - KEPT[schedule](min(done, 1.0)))


def draw_tokens(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw from softmax(logits) by inversion.

    Args:
        logits: (n, length, vocabulary).
        uniform: From [0, 1), (n, length).

    Returns:
        Ids (n, length).
    """
    reached = logits.softmax(-1).cumsum(-1)
    at_most = uniform[..., None].to(reached.dtype) * reached[..., -1:]  # rounding: not quite 1
    return torch.searchsorted(reached, at_most, right=True)[..., 0].clamp(max=logits.shape[-1] - 1)
