"""What a frozen base makes of pictures and captions, computed once and kept in main memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from pipelines.bases.base import Base
from pipelines.bases.conditions import join, moved
from pipelines.bases.family import Condition
from pipelines.bases.loop import encode

GIGABYTE = 10**9


class Encodings:
    """Latents of pictures and states of captions.

    Each is computed alone, so that it does not depend on the batch in which it comes first. What
    does not fit into the limit is computed again each time.

    Args:
        base: Encodes in the precision of its weights.
        limit: Bytes to keep at most.
        null: The null condition, if the base has no text encoders.
    """

    def __init__(self, base: Base, limit: float, null: Condition | None = None) -> None:
        self._base, self._limit, self._null = base, limit, null
        self._kept: dict[tuple[str, str], Condition] = {}
        self._bytes = 0

    def latents(self, names: Sequence[str], pixels: torch.Tensor) -> torch.Tensor:
        """Return normalised latents of pictures, float32, on the base's device.

        Args:
            names: Of the pictures; equal names are equal pictures, cut to one shape.
            pixels: (n, 3, height, width), in [-1, 1].
        """
        rows = [
            self._row(("picture", name), lambda row=row: {"x": encode(self._base, row[None])})
            for name, row in zip(names, pixels, strict=True)
        ]
        found: torch.Tensor = join(rows)["x"]
        return found

    def condition(self, captions: Sequence[str]) -> Condition:
        """Return what the base reads of captions, on its device."""
        family, pipe = self._base.family, self._base.pipe
        return join(
            [
                self._row(("caption", text), lambda text=text: family.encode(pipe, [text]))
                for text in captions
            ]
        )

    def null(self) -> Condition:
        """Return the null condition, one row."""
        if self._null is not None:
            return moved(self._null, self._base.device)
        family, pipe = self._base.family, self._base.pipe
        return self._row(("null", ""), lambda: family.null(pipe, None))

    @torch.no_grad()
    def _row(self, name: tuple[str, str], compute: Callable[[], Condition]) -> Condition:
        device = self._base.device
        if name in self._kept:
            return moved(self._kept[name], device)
        # In the precision of the weights, as sampling does, and not in that of the forward pass.
        with torch.autocast(device.type, enabled=False):
            found = compute()
        size = sum(value.nbytes for value in _tensors(found))
        if self._bytes + size <= self._limit:
            self._kept[name] = moved(found, torch.device("cpu"))
            self._bytes += size
        return found


def _tensors(condition: Condition) -> list[torch.Tensor]:
    return [
        value
        for part in condition.values()
        for value in (part if isinstance(part, list) else [part])
    ]
