"""Image latents: a picture as an autoencoder encodes it, so that training need not encode it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from pipelines.latents.base import Stored
from pipelines.latents.text import LatentError


@dataclass(frozen=True, eq=False)
class ImageLatents(Stored):
    """What the denoiser draws in place of pixels. They are no kind of z: nobody reads them.

    Attributes:
        values: float16 (channels, rows, columns), finite, with a spread of about 1.
    """

    values: np.ndarray

    kind: ClassVar[str] = "image-latents"
    version: ClassVar[int] = 1
    suffix: ClassVar[str] = "npy"

    def validate(self) -> None:
        """Raise LatentError unless there are three axes of finite values."""
        if self.values.ndim != 3 or self.values.dtype != np.float16 or not self.values.size:
            raise LatentError(self.kind, "they are not 16-bit values with three axes.")
        if not np.isfinite(self.values).all():
            raise LatentError(self.kind, "a value is not finite.")

    def to_bytes(self) -> bytes:
        """Serialise as NumPy's .npy, version 1.0."""
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, self.values, (1, 0), allow_pickle=False)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are something else.
        """
        buffer = io.BytesIO(data)
        try:
            if np.lib.format.read_magic(buffer) != (1, 0):
                raise ValueError("another version")
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(buffer)
            if dtype != np.float16 or by_columns or min(shape, default=0) < 1:
                raise ValueError(f"{dtype} of shape {shape}")
            # Read by the length that is there, not by the one that the header claims.
            values = np.frombuffer(data, np.float16, offset=buffer.tell()).reshape(shape)
        except (ValueError, TypeError, SyntaxError) as error:
            raise LatentError(cls.kind, f"the bytes are no such array ({error}).") from error
        found = cls(values)
        found.validate()
        return found
