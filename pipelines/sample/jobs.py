"""Jobs that draw pictures, see `pipelines.sample.engine`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.core.batches import in_batches
from pipelines.sample.bundle import Bundle
from pipelines.sample.control import UNCONTROLLED, Control
from pipelines.sample.draw import (
    Sample,
    captions_together,
    draw_again,
    draw_each,
    draw_from_z,
)
from pipelines.workspace.settings import SampleSettings


@dataclass(frozen=True)
class DrawCaptions:
    """Draws samples of captions.

    Attributes:
        model: Name of the bundle.
        captions: As many as fill a group of z.
        settings: How.
        control: What z must hold.
    """

    model: str
    captions: tuple[str, ...]
    settings: SampleSettings
    control: Control = UNCONTROLLED

    @property
    def name(self) -> str:
        """The first caption."""
        return name_of(self.captions[0])

    def run(self, tools: Mapping[str, Any]) -> Iterator[Sample]:
        """Yield ``settings.n`` samples of each caption."""
        bundle: Bundle = tools[self.model]
        for samples in draw_each(bundle, self.captions, self.settings, self.control):
            yield from samples


@dataclass(frozen=True)
class DrawGiven:
    """Draws a picture of each given z of a caption.

    Attributes:
        model: Name of the bundle.
        caption: The caption.
        texts: The z.
        settings: How.
        indices: The numbers whose noise is used.
    """

    model: str
    caption: str
    texts: tuple[str, ...]
    settings: SampleSettings
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """The caption."""
        return name_of(self.caption)

    def run(self, tools: Mapping[str, Any]) -> Iterator[Sample]:
        """Yield the samples."""
        bundle: Bundle = tools[self.model]
        yield from draw_from_z(bundle, self.caption, self.texts, self.settings, self.indices)


@dataclass(frozen=True)
class DrawAgain:
    """Draws second pictures of z, from other noise.

    Attributes:
        model: Name of the bundle.
        caption: The caption.
        texts: z of the first pictures.
        settings: How the first ones were drawn.
    """

    model: str
    caption: str
    texts: tuple[str, ...]
    settings: SampleSettings

    @property
    def name(self) -> str:
        """The caption."""
        return name_of(self.caption)

    def run(self, tools: Mapping[str, Any]) -> Iterator[np.ndarray]:
        """Yield the pictures."""
        yield from draw_again(tools[self.model], self.caption, self.texts, self.settings)


def name_of(caption: str) -> str:
    """Return what a job of a caption is called in errors."""
    return f"caption {caption[:40]!r}"


def jobs_of(
    model: str,
    captions: Sequence[str],
    settings: SampleSettings,
    control: Control = UNCONTROLLED,
) -> Iterator[DrawCaptions]:
    """Cut the samples of captions into jobs; each has as many captions as fill groups of z.

    Args:
        model: Name of the bundle.
        captions: The captions.
        settings: How to draw.
        control: What z must hold.
    """
    for group in in_batches(captions, captions_together(settings.n)):
        yield DrawCaptions(model, tuple(group), settings, control)
