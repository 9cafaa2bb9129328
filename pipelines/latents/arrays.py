"""Arrays that a shard keeps beside the kinds of z, as NumPy's .npy."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from pipelines.latents.base import Stored
from pipelines.latents.text import LatentError


@dataclass(frozen=True, eq=False)
class StoredArray(Stored):
    """An array of finite values. They are no kind of z: nobody reads them.

    Class attributes:
        dtype: Of the values.
        axes: Number of axes.

    Attributes:
        values: The array, in C order.
    """

    values: np.ndarray

    suffix: ClassVar[str] = "npy"
    dtype: ClassVar[np.dtype]
    axes: ClassVar[int]

    def validate(self) -> None:
        """Raise LatentError unless the values are finite, of the class's dtype and axes."""
        if self.values.ndim != self.axes or self.values.dtype != self.dtype or not self.values.size:
            bits = 8 * self.dtype.itemsize
            raise LatentError(self.kind, f"they are not {bits}-bit values with {self.axes} axes.")
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
            if dtype != cls.dtype or by_columns or min(shape, default=0) < 1:
                raise ValueError(f"{dtype} of shape {shape}")
            # Read by the length that is there, not by the one that the header claims.
            values = np.frombuffer(data, cls.dtype, offset=buffer.tell()).reshape(shape)
        except (ValueError, TypeError, SyntaxError) as error:
            raise LatentError(cls.kind, f"the bytes are no such array ({error}).") from error
        found = cls(values)
        found.validate()
        return found
