"""A trained Kaleido prior as a planner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from pipelines.core.fingerprint import fingerprint
from pipelines.documents.document import Document
from pipelines.models.prior import Prior
from pipelines.plan.plan import plan
from pipelines.sample.candidates import Checks
from pipelines.sample.choice import Decoding
from pipelines.workspace.settings import SampleSettings


class PriorPlanner:
    """Draws each plan on its own; the z are those that `sample` draws with the same seed.

    Args:
        prior: The prior, on the device where it shall compute.
        kinds: Kinds of z, in order, that the prior draws.
        settings: The decoding, z_seed, and which candidates are sound; `plan` sets n and seed.
    """

    def __init__(self, prior: Prior, kinds: Sequence[str], settings: SampleSettings) -> None:
        self._prior, self._kinds, self._settings = prior, tuple(kinds), settings
        chosen = [asdict(Decoding.of(settings)), asdict(Checks.of(settings))]
        drawing = [*chosen, settings.z_seed, asdict(prior.soundness)]
        self.identity = fingerprint([prior.identity, list(kinds), drawing])

    def plan(self, caption: str, count: int, seed: int) -> list[Document]:
        """Draw plans, see `Planner.plan`."""
        settings = replace(self._settings, n=count, seed=seed)
        plans, _ = plan(self._prior, caption, self._kinds, settings)
        return [each.document() for each in plans]
