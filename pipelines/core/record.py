"""Record: one row of data. A sample, by contrast, is an image that a model generated."""

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
    """A captioned image with its metadata and latents.

    Attributes:
        key: Unique name within the workspace: letters, digits, ``-`` and ``_``. It has no dots,
            because webdataset splits file names at the first dot.
        image: The encoded image (PNG, JPEG or WebP), as stored in the shard.
        caption: The caption c, UTF-8 text.
        meta: JSON values: ``source``, ``licence``, ``split`` and, if known, ``truth``.
        latents: Extracted latents by kind, without those whose extraction did not succeed.
    """

    key: str
    image: bytes
    caption: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    latents: Mapping[str, Any] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """``train`` or ``heldout``; ``train`` if the metadata do not say."""
        return str(self.meta.get("split", "train"))

    @property
    def heldout(self) -> bool:
        """Whether the record is held out, so that training never sees it."""
        return self.split == "heldout"

    @cached_property
    def pixels(self) -> np.ndarray:
        """The decoded image: uint8, (height, width, 3), RGB.

        Raises:
            BadRecord: If the bytes are not a valid image.
        """
        return decode_image(self.image, name=self.key)
