"""Caption states: a caption as a frozen encoder reads it, so that training need not encode it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from pipelines.latents.arrays import StoredArray


class CaptionStates(StoredArray):
    """The encoder's last hidden states of a caption, without padding.

    Attributes:
        values: float32 (tokens, width), as the encoder computes them: training from them changes
            no bit.
    """

    kind: ClassVar[str] = "caption-states"
    version: ClassVar[int] = 1
    dtype: ClassVar[np.dtype] = np.dtype(np.float32)
    axes: ClassVar[int] = 2
