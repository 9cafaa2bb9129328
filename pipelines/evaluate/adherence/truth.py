"""Write z of real pictures: the ceiling of what adherence can reach."""

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
    """Write the z that extractors without errors would write of a real picture.

    How far a judge agrees with the z of real pictures is the ceiling of adherence.

    Attributes:
        kinds: Kinds of z that the models draw, in order.
        colours: Most colours of a palette.
        tokenizer: The workspace's tokenizer, if it has one.
    """

    kinds: Sequence[str] = ()
    colours: int = 6
    tokenizer: Retokenizer | None = None

    @property
    def metadata(self) -> list[object]:
        """Everything that decides z, as JSON values."""
        return [list(self.kinds), self.colours, self.tokenizer and self.tokenizer.name]

    def of_pixels(self, image: Image, known: Mapping[str, Latent] | None = None) -> str:
        """Write z of a real picture.

        Args:
            image: The picture; its tokens and palette follow from its pixels.
            known: Latents of other kinds, by kind, where the truth about the picture is known.
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
