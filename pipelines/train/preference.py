"""The preference step of a prior: z of its own that contradict themselves become less likely.

Cross-entropy never sees what a prior draws itself. So it now and then draws several z of a record's
caption, and the checks that choose among candidates when drawing say how far each falls short. What
is lowered is the expected shortfall: log p of the tokens at fault, times how much worse than its
siblings a z is (policy gradient with the group's mean as baseline, as in arXiv 2402.03300, section
4.1). Unlikelihood (arXiv 1908.04319) has a gradient in proportion to the token's probability,
which is a few hundredths for a number: it would hardly move one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import cross_entropy

from pipelines.core.errors import KaleidoError
from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import marker
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.workspace.settings import SampleSettings

EVERY = 16
"""Of so many records in a row the first is one whose caption is drawn for."""

DRAWS = 8
"""z of such a caption."""

AT_FAULT = {"blobs": "boxes", "boxes": "description", "palette": "description"}
"""Kind -> the earlier one that it can contradict. Only the tokens of the later one are blamed: so
boxes do not grow to be easier to hit."""

Draw = Callable[[Prior, Sequence[States], Sequence[int]], list[str]]
"""(prior, encoder states of a caption each, (1, length, width), seeds) -> a z of each."""


class Preference:
    """Draws z of captions and computes the loss of those that fall short.

    Args:
        prior: The prior that is trained.
        weight: Weight of the loss.
        draw: Draws z.

    Raises:
        KaleidoError: If no kind of the prior's z can contradict another one.
    """

    def __init__(self, prior: Prior, weight: float, draw: Draw) -> None:
        if not any({late, early} <= {*prior.z_kinds} for late, early in AT_FAULT.items()):
            raise KaleidoError(
                f"prior.preference = {weight:g}",
                f"z of {', '.join(prior.z_kinds)} has no kinds that can contradict each other.",
                "It needs boxes with blobs, or a description with boxes or a palette.",
                code="bad-setting",
            )
        self._prior, self._weight, self._draw = prior, weight, draw
        vocabulary = prior.tokenizer.get_vocab()
        self._markers = {vocabulary[marker(kind)]: kind for kind in prior.z_kinds}

    def rows(self, start: int, count: int) -> tuple[int, ...]:
        """Return which of `count` records from a position on are drawn for."""
        return tuple(range(-start % EVERY, count, EVERY))

    def loss(
        self, caption: States, rows: Sequence[int], chances: torch.Tensor, dropout: bool
    ) -> torch.Tensor:
        """Compute the loss, whose gradient is that of the expected shortfall of a z.

        Args:
            caption: Encoder states of a batch.
            rows: Those that are drawn for.
            chances: Numbers in [0, 1), (n, `DRAWS`), which decide what is drawn.
            dropout: Whether the model is trained with dropout, in which mode it is left.
        """
        chosen = torch.tensor(rows, device=caption.mask.device).repeat_interleave(DRAWS)
        seeds = (chances[[*rows]].double() * 2**24).long().flatten().tolist()
        self._prior.model.eval()
        with torch.no_grad(), torch.autocast(caption.values.device.type, enabled=False):
            texts = self._draw(self._prior, _alone(caption, chosen), seeds)
        self._prior.model.train(dropout)
        ids, mask = self._prior.tokenize_z(texts)
        blame = self._blame(texts, ids, mask).to(caption.mask.device)
        ids = ids.to(caption.mask.device)
        logits = self._prior.z_logits(caption.expand(chosen), ids)
        logs = -cross_entropy(logits.transpose(1, 2).float(), ids, reduction="none")
        return self._weight * (blame * logs).sum(1).mean()

    def _blame(self, texts: Sequence[str], ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Return how much worse than its siblings each token's part is, (n, length).

        Shortfalls count for at most 1, so values lie in [-1, 1].
        """
        usual = SampleSettings()
        found = [
            self._prior.soundness.shortfalls(z_from_text(text), usual.z_overlap, True, True)
            for text in texts
        ]
        blame = torch.zeros(ids.shape)
        for kind in AT_FAULT.keys() & {kind for each in found for kind in each}:
            short = torch.tensor([min(each.get(kind, 0.0), 1.0) for each in found])
            worse = (short.view(-1, DRAWS) - short.view(-1, DRAWS).mean(1, keepdim=True)).flatten()
            blame += self._tokens_of(kind, ids) * mask * worse[:, None]
        return blame

    def _tokens_of(self, kind: str, ids: torch.Tensor) -> torch.Tensor:
        """Return which tokens belong to a kind's part, without its marker, bool (n, length)."""
        inside = torch.zeros(ids.shape, dtype=torch.bool)
        for row, tokens in enumerate(ids.tolist()):
            current = ""
            for place, token in enumerate(tokens):
                inside[row, place] = current == kind and token not in self._markers
                current = self._markers.get(token, current)
        return inside


def _alone(caption: States, rows: torch.Tensor) -> list[States]:
    """Return rows without padding, (1, length, width) each."""
    lengths = caption.mask.sum(1)
    return [
        States(
            caption.values[row : row + 1, : int(lengths[row])].detach().float(),
            caption.mask[row : row + 1, : int(lengths[row])],
        )
        for row in rows.tolist()
    ]
