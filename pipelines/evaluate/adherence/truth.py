"""Write the z of real pictures, which gives the ceiling of adherence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from pipelines.evaluate.adherence.tokens import Retokenizer
from pipelines.extract.palette import find_palette
from pipelines.latents.base import Latent
from pipelines.latents.sequence import z_to_text


@dataclass(frozen=True)
class TrueZ:
    """Write the z that error-free extractors would produce for a real picture.

    A judge's agreement with the z of real pictures is the ceiling of adherence.

    Attributes:
        kinds: Kinds of z that the models draw, in order.
        colours: Maximum number of colours in a palette.
        tokenizer: The workspace's tokenizer, if it has one.
    """

    kinds: Sequence[str] = ()
    colours: int = 6
    tokenizer: Retokenizer | None = None

    @property
    def metadata(self) -> list[object]:
        """Everything that determines z, as JSON values."""
        return [list(self.kinds), self.colours, self.tokenizer and self.tokenizer.name]

    def of_pixels(self, image: Image, known: Mapping[str, Latent] | None = None) -> str:
        """Write the z of a real picture.

        Args:
            image: The picture, from which tokens and palette are computed.
            known: Ground-truth latents of other kinds, by kind.
        """
        z = dict(known or {}) | self._of_pixels(np.asarray(image))
        return z_to_text({kind: z[kind] for kind in self.kinds if kind in z})

    def _of_pixels(self, pixels: np.ndarray) -> dict[str, Latent]:
        z: dict[str, Latent] = {}
        if "palette" in self.kinds:
            z["palette"] = find_palette(pixels, self.colours)
        if "tokens" in self.kinds and self.tokenizer is not None:
            z["tokens"] = self.tokenizer.tokens(pixels)
        return z


WITHOUT = TrueZ()
"""Writes none."""
