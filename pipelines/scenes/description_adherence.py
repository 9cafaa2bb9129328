"""Measure how many facts of z's description the judge finds in the picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines.evaluate.adherence.z_text import latent_of
from pipelines.evaluate.observations import Verdict
from pipelines.latents.description import Description
from pipelines.scenes.descriptions import COLUMNS, ROWS, read_description
from pipelines.scenes.factors import SIZES
from pipelines.scenes.oracle import PLACES, arrangements, of_objects

FACTORS = ("shape", "colour", "texture", "size", "place", "arrangement", "background")
"""Kinds of facts in a description of a scene; attributes are stated together with the shape."""

Facts = Counter[tuple[str, ...]]


def facts_seen(verdict: Verdict) -> Facts:
    """List the facts that the judge sees, in the form of `read_description`."""
    facts: Facts = Counter()
    sizes, places = (of_objects(verdict.objects, factor) for factor in ("size", "place"))
    for item, size, place in zip(verdict.objects, sizes, places, strict=True):
        facts["shape", item.label] += 1
        facts["colour", item.label, item.attributes["colour"]] += 1
        facts["texture", item.label, item.attributes["texture"]] += 1
        facts["size", item.label, tuple(SIZES)[size]] += 1
        row, column = divmod(place, PLACES)
        facts["place", item.label, ROWS[row], COLUMNS[column]] += 1
    facts["arrangement", *arrangements([verdict])] += 1
    facts["background", verdict.background] += 1
    return facts


def description_adherence(texts: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Compare descriptions with pictures; picture i was drawn from text i.

    Returns:
        ``description``, the share of stated facts that the pictures show; ``description.FACT``,
        the same for each kind of fact; ``description.count``, the share of pictures with the
        stated number of objects. NaN where no facts are stated, for example because the
        description is free text that `read_description` cannot parse.
    """
    stated: Facts = Counter()
    shown: Facts = Counter()
    counts = []
    for text, verdict in zip(texts, verdicts, strict=True):
        description = latent_of(text, Description)
        facts = read_description(description.text) if description else Counter()
        if facts:
            stated.update(facts)
            shown.update(facts & facts_seen(verdict))
            objects = sum(n for fact, n in facts.items() if fact[0] == "shape")
            counts.append(objects == len(verdict.objects))
    values = {"description": _share(shown.total(), stated.total())}
    for name in FACTORS:
        parts = [sum(n for fact, n in each.items() if fact[0] == name) for each in (shown, stated)]
        values[f"description.{name}"] = _share(*parts)
    return values | {"description.count": _share(sum(counts), len(counts))}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
