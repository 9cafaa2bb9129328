"""The random numbers of a loss: each record has its own, whatever batch and process it is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pipelines.core.seeds import derive


class Noise:
    """Random numbers for the records of a micro-batch.

    A record's numbers follow from (seed, purpose, its position in the stream). So a step has the
    same noise however it is divided into micro-batches and dealt to processes.

    Args:
        seed: The run's seed.
        purpose: What is trained.
        positions: The records of the micro-batch.
        step: All records of the step, of which they are a part; by default they are all.
        device: Device of the numbers.
    """

    def __init__(
        self,
        seed: int,
        purpose: str,
        positions: range,
        step: range | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._step, self._positions = step or positions, positions
        self._device = torch.device(device)
        self._generators = [
            torch.Generator(self._device).manual_seed(derive(seed, purpose, at)) for at in positions
        ]

    @property
    def generator(self) -> torch.Generator:
        """The first record's generator, for what concerns no single record."""
        return self._generators[0]

    def uniform(self, *shape: int) -> torch.Tensor:
        """Draw from [0, 1): (records, *shape)."""
        return self._stack(torch.rand, shape)

    def normal(self, *shape: int) -> torch.Tensor:
        """Draw from the standard normal distribution: (records, *shape)."""
        return self._stack(torch.randn, shape)

    def _stack(self, draw: Callable[..., torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
        drawn = [draw(shape, generator=each, device=self._device) for each in self._generators]
        return torch.stack(drawn)

    def levels(self, draws: int) -> torch.Tensor:
        """Draw stratified levels from [0, 1), (draws, records).

        Over all records and draws of a step, one level lies in each of as many equal parts of the
        range, which reduces the variance of a mean over them.
        """
        first = self._positions.start - self._step.start
        place = torch.arange(first, first + len(self._positions), device=self._device)
        part = place + len(self._step) * torch.arange(draws, device=self._device)[:, None]
        return (part + self.uniform(draws).T) / (draws * len(self._step))
