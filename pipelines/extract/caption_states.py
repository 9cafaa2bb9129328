"""Caption states: each caption as a frozen encoder reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Ok, Outcome, Stage, StageSpec
from pipelines.latents.caption_states import CaptionStates

if TYPE_CHECKING:
    from pipelines.models.caption_encoder import CaptionEncoder
    from pipelines.models.prior import Prior


class CaptionStatesStage(Stage):
    """caption -> `CaptionStates`, in fp32.

    Args:
        encoder: Whose states they are.
    """

    def __init__(self, encoder: CaptionEncoder) -> None:
        self._encoder = encoder
        self._prior: Prior | None = None
        self.spec = StageSpec(
            name="caption-states",
            version=1,
            output=CaptionStates.kind,
            options=encoder.options,
            resources=NETWORK,
        )

    def setup(self) -> None:
        """Load the encoder."""
        from pipelines.models.device import compute_device

        self._prior = self._encoder.load()
        del self._prior.model.decoder, self._prior.model.lm_head
        self._prior.model.to(compute_device()).eval()

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Encode each record's caption."""
        if self._prior is None:
            raise RuntimeError("setup() comes before the first batch")
        import torch

        from pipelines.models.device import in_fp32

        with torch.inference_mode(), in_fp32():
            states = self._prior.encode([record.caption for record in records])
        rows = zip(states.values.cpu().numpy(), states.mask.sum(-1).tolist(), strict=True)
        return [Ok(CaptionStates(values[:count].copy())) for values, count in rows]
