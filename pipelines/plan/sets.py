"""Sets of plans by any planner, chosen for spread, with a measure of how much they repeat."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.core.text_measures import distinct, self_bleu, words
from pipelines.documents.document import Document
from pipelines.documents.projection import DOCUMENT_KINDS, z_of
from pipelines.latents.base import Latent
from pipelines.latents.sequence import z_to_text
from pipelines.plan.plan import require_pool
from pipelines.plan.planners.base import Planner
from pipelines.plan.planners.facts import open_points, read_facts
from pipelines.plan.similarity import similarity
from pipelines.plan.spread import choose, effective_number
from pipelines.workspace.settings import SampleSettings

SPARE = 1.5
"""So many times as many plans are asked for as are kept, where the user does not say."""


@dataclass(frozen=True)
class Repetition:
    """How much the plans of one caption differ.

    Attributes:
        pool: Plans that were drawn.
        spread: Effective number of different z among those that were chosen (Vendi score).
        spread_of_first: The same for as many in drawing order.
        distinct2: Share of distinct pairs of words of z (distinct-2), from 0 to 1.
        self_bleu4: Mean BLEU-4 of the text of each z against the others; 1 if all are equal, None
            for a single plan.
    """

    pool: int
    spread: float
    spread_of_first: float
    distinct2: float
    self_bleu4: float | None


@dataclass(frozen=True)
class SetReport:
    """What is to be said about the plans of one caption.

    Attributes:
        caption: The caption.
        plans: Number of plans that were chosen.
        fixed: What the caption fixes.
        open: What it leaves open.
        repetition: How much the plans differ.
    """

    caption: str
    plans: int
    fixed: list[str]
    open: list[str]
    repetition: Repetition


@dataclass(frozen=True)
class PlanSet:
    """The plans of one caption.

    Attributes:
        documents: The chosen plans, in the order of choice, with keys of their drawing order.
        report: What is to be said about them.
    """

    documents: list[Document]
    report: SetReport


def plan_set(
    planner: Planner, caption: str, settings: SampleSettings, pool: int | None = None
) -> PlanSet:
    """Draw plans of a caption and choose those that differ most.

    Args:
        planner: Draws the plans.
        caption: The caption.
        settings: n and seed.
        pool: How many to choose from; None takes `SPARE` times n.

    Raises:
        KaleidoError: If the pool is smaller than n, or the planner cannot give as many plans.
    """
    count = settings.n
    if pool is not None:
        require_pool(pool, count)
    drawn = planner.plan(caption, pool or math.ceil(SPARE * count), settings.seed)
    kernel = similarity([_z(document) for document in drawn])
    chosen = choose(kernel, count)
    documents = [drawn[index] for index in chosen]
    facts = read_facts(caption)
    first = list(range(count))
    texts = [words(z_to_text(_z(document))) for document in documents]
    repetition = Repetition(
        len(drawn),
        effective_number(kernel[np.ix_(chosen, chosen)]),
        effective_number(kernel[np.ix_(first, first)]),
        distinct(texts, 2),
        self_bleu(texts, 4) if count > 1 else None,
    )
    fixed = [str(named) for named in facts]
    points = open_points(facts, caption)
    return PlanSet(documents, SetReport(caption, count, fixed, points, repetition))


def _z(document: Document) -> Mapping[str, Latent]:
    return z_of(document, DOCUMENT_KINDS)[0]
