"""Draw plans: z of a caption from the prior, without pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.documents.document import Document
from pipelines.documents.projection import document_of
from pipelines.documents.statements import z_contradictions
from pipelines.latents.sequence import z_from_text
from pipelines.models.prior import Prior
from pipelines.plan.similarity import similarity
from pipelines.plan.spread import choose, effective_number
from pipelines.sample.candidates import ChosenZ
from pipelines.sample.control import UNCONTROLLED, Control
from pipelines.sample.draw import draw_z_each
from pipelines.sample.likelihood import structure_nats, z_nats
from pipelines.workspace.settings import SampleSettings

LIKELY = 0.75
"""Share of a pool, the likeliest by their structure, from which plans are chosen. Slips differ from
everything else, so diversity alone would prefer them."""


@dataclass(frozen=True)
class Plan:
    """One z of a caption.

    Attributes:
        caption: The caption.
        index: Number of the z in drawing order, from 0: sample `index` of the same seed has the
            same z.
        z: The latent as text.
        nats: Mean cross-entropy per token under the prior; lower is more likely.
        structure: Nats of all labels, separators and end tokens, see `structure_nats`.
        rejected: How many z were drawn for it and not taken, see `draw_sound_z`.
    """

    caption: str
    index: int
    z: str
    nats: float
    structure: float
    rejected: int = 0

    def document(self, side: int | None = None) -> Document:
        """Convert it to a z document."""
        document = document_of(
            z_from_text(self.z), self.caption, None if side is None else (side, side)
        )
        return document.model_copy(update={"key": f"plan-{self.index:04d}"})


@dataclass(frozen=True)
class Gain:
    """Gain and cost of choosing diverse plans.

    Attributes:
        pool: Number of z that were drawn.
        spread: Effective number (Vendi score) of the chosen z.
        spread_of_first: The same for the first z in drawing order.
        nats: Mean nats per token of the chosen z.
        nats_of_first: The same for the first z in drawing order.
    """

    pool: int
    spread: float
    spread_of_first: float
    nats: float
    nats_of_first: float


def require_pool(pool: int, count: int) -> None:
    """Raise KaleidoError unless a pool holds as many z as are to be chosen from it."""
    if pool < count:
        why = f"{pool} are fewer than the {count} to choose."
        raise KaleidoError("--diverse", why, "Give several times --n.", code="bad-option")


def plan(
    prior: Prior,
    caption: str,
    kinds: Sequence[str],
    settings: SampleSettings,
    pool: int | None = None,
    control: Control = UNCONTROLLED,
) -> tuple[list[Plan], Gain | None]:
    """Draw ``settings.n`` z of one caption, see `plan_each`."""
    return next(plan_each(prior, [caption], kinds, settings, pool, control))


def plan_each(
    prior: Prior,
    captions: Sequence[str],
    kinds: Sequence[str],
    settings: SampleSettings,
    pool: int | None = None,
    control: Control = UNCONTROLLED,
) -> Iterator[tuple[list[Plan], Gain | None]]:
    """Draw ``settings.n`` z of each caption.

    Args:
        prior: The prior.
        captions: The captions.
        kinds: Kinds of z, in order.
        settings: n, seed and decoding; `sample` draws the same z.
        pool: Draw this many and choose the n most diverse (see `pipelines.plan.spread`); None
            draws n.
        control: What z must hold.

    Yields:
        The plans of a caption, in the order in which they were drawn or chosen, and the gain; None
        without `pool`.
    """
    count = max(settings.n, pool or 0)
    for caption, chosen in draw_z_each(prior, captions, kinds, settings, count, control):
        plans = _read(prior, caption, chosen)
        yield (plans, None) if pool is None else _most_diverse(plans, settings.n)


def _most_diverse(plans: Sequence[Plan], count: int) -> tuple[list[Plan], Gain]:
    kernel = similarity([z_from_text(each.z) for each in plans])
    eligible = _eligible(plans, count)
    chosen = [eligible[place] for place in choose(kernel[np.ix_(eligible, eligible)], count)]
    first = list(range(count))
    nats = np.array([each.nats for each in plans])
    gain = Gain(
        len(plans),
        effective_number(kernel[np.ix_(chosen, chosen)]),
        effective_number(kernel[np.ix_(first, first)]),
        float(nats[chosen].mean()),
        float(nats[first].mean()),
    )
    return [plans[index] for index in chosen], gain


def _eligible(plans: Sequence[Plan], count: int) -> list[int]:
    """Return which plans may be chosen, at least `count`, in drawing order.

    Those whose description contradicts their boxes are left out, then the least likely.
    """
    sound = [place for place, each in enumerate(plans) if not z_contradictions(z_from_text(each.z))]
    if len(sound) < count:
        sound = list(range(len(plans)))
    likeliest = sorted(sound, key=lambda place: plans[place].structure)
    return sorted(likeliest[: max(count, round(LIKELY * len(sound)))])


def _read(prior: Prior, caption: str, chosen: Sequence[ChosenZ]) -> list[Plan]:
    texts = [z.text for z in chosen]
    # None of them is None: the grammar can write every z that it drew.
    nats = [each for each in z_nats(prior, caption, texts) if each is not None]
    structure = structure_nats(prior, texts, nats)
    return [
        Plan(caption, index, z.text, float(each.mean()), total, z.rejected)
        for index, (z, each, total) in enumerate(zip(chosen, nats, structure, strict=True))
    ]
