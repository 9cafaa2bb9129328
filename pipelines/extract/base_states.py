"""Base states: each caption as the text encoders of a base read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.core.record import Record
from pipelines.core.stage import NETWORK, Ok, Outcome, Stage, StageSpec
from pipelines.latents.base_states import BaseStates

if TYPE_CHECKING:
    from pipelines.bases.base import Base
    from pipelines.bases.text_states import TextEncoders


class BaseStatesStage(Stage):
    """caption -> `BaseStates`, in the precision of the base.

    Args:
        encoders: Whose states they are.
    """

    def __init__(self, encoders: TextEncoders) -> None:
        self._encoders = encoders
        self._base: Base | None = None
        self.spec = StageSpec(
            name="base-states",
            version=1,
            output=BaseStates.kind,
            options=encoders.options,
            resources=NETWORK,
        )

    def setup(self) -> None:
        """Load the text encoders."""
        self._base = self._encoders.load()

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Encode each record's caption."""
        if self._base is None:
            raise RuntimeError("setup() comes before the first batch")
        from pipelines.bases.text_states import states_of

        return [Ok(states_of(self._base, record.caption)) for record in records]
