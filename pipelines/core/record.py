"""Record: one row of data. A sample is something else, namely an image that we drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipelines.core.images import decode_image

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Record:
    """A captioned image and what is known of it.

    Attributes:
        key: Unique name within the workspace: letters, digits, ``-`` and ``_``. No dots, because
            webdataset cuts a file name at its first dot.
        image: The encoded image (PNG, JPEG or WebP), as stored in the shard.
        caption: The caption c, UTF-8 text.
        meta: JSON values: ``source``, ``licence``, ``split`` and, if known, ``truth``.
        latents: Extracted latents by kind; a kind is absent where extraction did not succeed.
    """

    key: str
    image: bytes
    caption: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    latents: Mapping[str, Any] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """``train`` or ``heldout``; a record that does not say is for training."""
        return str(self.meta.get("split", "train"))

    @property
    def heldout(self) -> bool:
        """Whether it is of the held-out split, which training never sees."""
        return self.split == "heldout"

    @cached_property
    def pixels(self) -> np.ndarray:
        """The decoded image: uint8, (height, width, 3), RGB.

        Raises:
            BadRecord: If the bytes are not an image that we accept.
        """
        return decode_image(self.image, name=self.key)
