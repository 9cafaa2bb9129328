"""Descriptions by the shipped captioner, which knows scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Failed, Ok, Outcome, Stage, StageSpec
from pipelines.latents.description import Description
from pipelines.latents.text import LatentError
from pipelines.models.metadata import captioner_metadata

if TYPE_CHECKING:
    from pipelines.extract.captioners.tiny import Captioner


class DescriptionsStage(Stage):
    """pixels -> `Description`.

    Args:
        folder: A captioner's folder.

    Raises:
        InputMissing: If the folder holds no captioner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._captioner: Captioner | None = None
        self.spec = StageSpec(
            name="descriptions-captioner",
            version=1,
            output="description",
            options={"captioner": captioner_metadata(folder)["identity"]},
            resources=NETWORK,
        )

    def setup(self) -> None:
        """Load the captioner, onto the GPU if there is one."""
        from pipelines.extract.captioners.tiny import Captioner
        from pipelines.models.device import compute_device

        self._captioner = Captioner.load(self._folder)
        self._captioner.model.to(compute_device())

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Describe each record's picture; an empty description has failed."""
        import torch

        from pipelines.models.pixels import fit_square

        if self._captioner is None:
            raise RuntimeError("setup() comes before the first batch")
        side = self._captioner.image_size
        images = torch.stack([fit_square(record.pixels, side) for record in records])
        return [_outcome(text) for text in self._captioner.describe(2.0 * images - 1.0)]


def _outcome(text: str) -> Outcome:
    try:
        return Ok(Description(text))
    except LatentError as error:
        return Failed(str(error))
