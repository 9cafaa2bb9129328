"""Image latents: a picture as an autoencoder encodes it, so that training need not encode it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pipelines.latents.arrays import StoredArray


class ImageLatents(StoredArray):
    """What the denoiser draws in place of pixels.

    Attributes:
        values: float16 (channels, rows, columns), finite, with a spread of about 1.
    """

    kind: ClassVar[str] = "image-latents"
    version: ClassVar[int] = 1
    dtype: ClassVar[np.dtype] = np.dtype(np.float16)
    axes: ClassVar[int] = 3
