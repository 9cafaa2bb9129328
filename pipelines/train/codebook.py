"""Vector quantization of a visual tokenizer: a codebook of moving averages that stays alive."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pipelines.models.tokenizer import Tokenizer
from pipelines.train.noise import Noise
from pipelines.train.picture_task import ImageTask, reconstruction_error
from pipelines.train.ranks import ALONE, Ranks
from pipelines.train.stream import RecordStream

COMMITMENT = 0.25
"""Weight β of the commitment loss (arXiv 1711.00937, eq. 3)."""

DECAY = 0.99
"""Decay of the codebook's moving averages (arXiv 1711.00937, appendix A.1): about 100 steps."""

DEAD = 0.1
"""An entry is dead if it is chosen less often than this fraction of a uniform share."""


class Trainee(nn.Module):
    """The checkpointed module: the network, and how often each entry is chosen.

    The codebook is a parameter without a gradient: its entries are moving averages.

    Attributes:
        share: (codebook_size,), the moving share of tokens that chose each entry.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.network = tokenizer.model
        self.register_buffer("share", torch.zeros(tokenizer.codebook_size))
        self.share: torch.Tensor

    @property
    def dead(self) -> torch.Tensor:
        """Return which entries are dead, see `DEAD`: bool (codebook_size,)."""
        return self.share < DEAD / len(self.share)

    @torch.no_grad()
    def revive(self, vectors: torch.Tensor, rng: torch.Generator) -> None:
        """Move dead entries to vectors that are far from every live entry.

        Vectors are chosen one after the other with probabilities proportional to the squared
        distance to the nearest live entry (k-means++, Arthur and Vassilvitskii 2007). In the first
        step every entry is dead, so this also initialises the codebook.

        Args:
            vectors: Output of the encoder, (m, code_dim), fp32.
            rng: The step's generator.
        """
        codebook, dead = self.network.quantize.embedding.weight, self.dead
        alive = codebook[~dead]
        weight = vectors.new_ones(len(vectors))
        if len(alive):
            weight = torch.cdist(vectors, alive).amin(1).square()
        for entry in dead.nonzero().flatten().tolist():
            # Keep the weights positive and finite; the loop reports a run that diverged.
            odds = weight.nan_to_num(1.0, 1.0) + 1e-12
            chosen = vectors[torch.multinomial(odds, 1, generator=rng)]
            weight = torch.minimum(weight, (vectors - chosen).square().sum(1))
            codebook[entry] = chosen[0]
            self.share[entry] = 1.0 / len(self.share)

    @torch.no_grad()
    def follow(self, vectors: torch.Tensor, ids: torch.Tensor, ranks: Ranks = ALONE) -> None:
        """Move entries towards the mean of the vectors that chose them.

        An entry is the moving average of the sum of these vectors over that of their number
        (arXiv 1711.00937, eq. 6 to 8).

        Args:
            vectors: (m, code_dim), fp32.
            ids: int64, (m,), the entries that the vectors chose.
            ranks: Have further vectors of the same step.
        """
        codebook = self.network.quantize.embedding.weight
        counts = ranks.sum(torch.bincount(ids, minlength=len(codebook)).to(vectors.dtype))
        total = ranks.sum(torch.zeros_like(codebook).index_add_(0, ids, vectors)) / counts.sum()
        share = counts / counts.sum()
        old = DECAY * self.share
        self.share.copy_(old + (1.0 - DECAY) * share)
        moved = (old[:, None] * codebook + (1.0 - DECAY) * total) / self.share[:, None]
        codebook.copy_(torch.where(self.share[:, None] > 0.0, moved, codebook))


class TokenizerTask(ImageTask):
    """First phase: train encoder, codebook and decoder."""

    def __init__(self, tokenizer: Tokenizer, stream: RecordStream) -> None:
        super().__init__(tokenizer, stream)
        self.model: Trainee = Trainee(tokenizer)
        self._chosen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def before_step(
        self,
        batches: Sequence[torch.Tensor],
        owners: Sequence[tuple[int, int]],
        noise: Noise,
        ranks: Ranks,
    ) -> None:
        """Revive dead entries of the codebook, with vectors of the whole step."""
        self._chosen.clear()
        if not self.model.dead.any():
            return
        with torch.no_grad():
            vectors = [self._no_vectors()]
            vectors += [_vectors(self._tokenizer.states(batch)) for batch in batches]
        rows = [(rank, count * self._tokenizer.grid**2) for rank, count in owners]
        self.model.revive(ranks.gather(torch.cat(vectors), rows), noise.generator)

    def loss(self, batch: torch.Tensor, noise: Noise) -> torch.Tensor:
        """Compute the reconstruction and edge error plus the commitment loss.

        The decoder reads codebook entries, while its gradient passes to the encoder's vectors
        unchanged (straight-through estimator, arXiv 1711.00937, section 3.2).
        """
        states = self._tokenizer.states(batch)
        ids = self._tokenizer.quantize(states)
        with torch.no_grad():
            entries = self._tokenizer.entries(ids)
        drawn = self._tokenizer.pictures(states + (entries - states).detach())
        commitment = (states - entries).square().mean()
        if torch.is_grad_enabled():  # not in validation
            self._chosen.append((_vectors(states), ids.flatten()))
        return reconstruction_error(drawn, batch) + COMMITMENT * commitment

    def after_step(self, ranks: Ranks) -> None:
        """Move the codebook towards the vectors of the step's losses."""
        vectors = [self._no_vectors(), *(vectors for vectors, _ in self._chosen)]
        ids = [torch.empty(0, dtype=torch.int64, device=self.model.share.device)]
        ids += [chosen for _, chosen in self._chosen]
        self.model.follow(torch.cat(vectors), torch.cat(ids), ranks)

    def _no_vectors(self) -> torch.Tensor:
        """Return the vectors of a rank without records, (0, code_dim)."""
        return torch.empty_like(self.model.network.quantize.embedding.weight[:0])


def _vectors(states: torch.Tensor) -> torch.Tensor:
    """Flatten states (n, code_dim, grid, grid) to vectors (m, code_dim), without a gradient."""
    return states.detach().permute(0, 2, 3, 1).flatten(0, 2)
