"""Choosing z: the first of several candidates that is sound, so that slips of the prior go.

The likeliest candidate, or the one that agrees with itself best, would make pictures alike: of two
sound z the plainer would win each time. Rejection leaves the distribution among sound z as it is.
Only where none is sound, the one that agrees with itself best is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import NamedTuple

from pipelines.latents.sequence import z_from_text
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.sample.choice import Decoding
from pipelines.sample.decode import ROWS, Row, draw_rows
from pipelines.sample.likelihood import surprises
from pipelines.sample.seeds import seeds_of
from pipelines.workspace.settings import SampleSettings

Check = Callable[[Sequence[States], Sequence[str], SampleSettings], list[bool]]
"""(encoder states of each caption, one z each, settings) -> whether each z may be taken."""


@dataclass(frozen=True)
class Checks:
    """How a z is chosen among candidates: the settings of the same names.

    Attributes:
        z_candidates: Most z that are drawn for a picture.
        z_overlap: Least overlap of a box and its blob.
        z_colours: ``on`` or ``off``: described colours must be in the palette.
        z_places: ``on`` or ``off``: boxes must be where the description says.
        z_surprise: Greatest slip of a label, separator or end, in nats.
    """

    z_candidates: int
    z_overlap: float
    z_colours: str
    z_places: str
    z_surprise: float

    @classmethod
    def of(cls, settings: SampleSettings) -> Checks:
        """Return the checks that settings ask for."""
        return cls(**{item.name: getattr(settings, item.name) for item in fields(cls)})


class ChosenZ(NamedTuple):
    """The z of a picture.

    Attributes:
        text: The z.
        rejected: Candidates that were not sound. If that is all of them (``z_candidates``), none
            was found and `text` is the one that falls least short.
    """

    text: str
    rejected: int = 0


class Wanted(NamedTuple):
    """A picture that needs a z.

    Attributes:
        caption: Its caption.
        encoded: Encoder states of the caption, (1, length, width).
        number: Number of the picture among those of its caption.
    """

    caption: str
    encoded: States
    number: int


def draw_sound_z(
    prior: Prior, wanted: Sequence[Wanted], kinds: Sequence[str], settings: SampleSettings
) -> list[ChosenZ]:
    """Draw a z for each picture: the first sound one of up to ``z_candidates``.

    Candidate k of a picture depends on (seed, caption, index, k) alone, so the choice does not
    depend on what is drawn together.

    Args:
        prior: The prior.
        wanted: The pictures.
        kinds: Kinds of z in order.
        settings: Seeds, decoding, and when a z is sound, see `are_sound`.
    """
    most = settings.z_candidates
    chosen, drawn = first_passing(
        prior, wanted, kinds, settings, partial(are_sound, prior) if most > 1 else None
    )
    return [
        chosen.get(i) or ChosenZ(_least_wrong(prior, each.encoded, drawn[i], settings), most)
        for i, each in enumerate(wanted)
    ]


def first_passing(
    prior: Prior,
    wanted: Sequence[Wanted],
    kinds: Sequence[str],
    settings: SampleSettings,
    check: Check | None,
) -> tuple[dict[int, ChosenZ], dict[int, list[str]]]:
    """Draw up to ``z_candidates`` z for each picture, until one passes a check.

    Args:
        prior: The prior.
        wanted: The pictures.
        kinds: Kinds of z in order.
        settings: Seeds, decoding and number of candidates.
        check: Judges z; None passes all.

    Returns:
        The first z that passes, by the place of its picture in `wanted`, for those that have one;
        and all z that were drawn of every picture.
    """
    most, tried = settings.z_candidates, 0
    chosen: dict[int, ChosenZ] = {}
    drawn: dict[int, list[str]] = {i: [] for i in range(len(wanted))}
    while tried < most and (left := [i for i in range(len(wanted)) if i not in chosen]):
        # Rows are decoded in groups of a fixed size: a few pictures fill one with more candidates.
        rounds = 1 if tried == 0 else max(1, ROWS // len(left))
        asked = [(k, i) for k in range(tried, min(tried + rounds, most)) for i in left]
        rows = [Row(wanted[i].encoded, seed_of(settings, wanted[i], "z", k)) for k, i in asked]
        texts = draw_rows(prior, rows, kinds, Decoding.of(settings))
        passes = [True] * len(texts)
        if check is not None:
            passes = check([row.caption for row in rows], texts, settings)
        for (k, i), text, passed in zip(asked, texts, passes, strict=True):
            drawn[i].append(text)
            if passed:
                chosen.setdefault(i, ChosenZ(text, k))
        tried += rounds
    return chosen, drawn


def are_sound(
    prior: Prior, captions: Sequence[States], texts: Sequence[str], settings: SampleSettings
) -> list[bool]:
    """Judge z by the settings, and by what is true of the data.

    Boxes must fit the blobs, palette and boxes must have the colours and places that are described,
    and no label, separator or end may be a slip.

    Args:
        prior: The prior that drew them.
        captions: Encoder states of the caption of each, (1, length, width).
        texts: One z each.
        settings: ``z_overlap`` and ``z_surprise``, of which 0 leaves the check out, and
            ``z_colours`` and ``z_places``.
    """
    agreeing = [_shortfall(prior, text, settings) == 0.0 for text in texts]
    asked = [place for place, agrees in enumerate(agreeing) if agrees]
    if not settings.z_surprise or not asked:
        return agreeing
    found = surprises(prior, [captions[i] for i in asked], [texts[i] for i in asked])
    slips = {i for i, nats in zip(asked, found, strict=True) if nats > settings.z_surprise}
    return [agrees and place not in slips for place, agrees in enumerate(agreeing)]


def seed_of(settings: SampleSettings, wanted: Wanted, purpose: str, candidate: int) -> int:
    """Derive the seed of a candidate; that of the first is the one of the picture's z."""
    name = f"{purpose} candidate {candidate}" if candidate else purpose
    return seeds_of(settings, name, wanted.caption, [wanted.number])[0]


def _shortfall(prior: Prior, text: str, settings: SampleSettings) -> float:
    colours, places = settings.z_colours == "on", settings.z_places == "on"
    return prior.soundness.shortfall(z_from_text(text), settings.z_overlap, colours, places)


def _least_wrong(
    prior: Prior, caption: States, texts: Sequence[str], settings: SampleSettings
) -> str:
    """Choose the z that falls least short, of those without a slip if there are any."""
    slips = [False] * len(texts)
    if settings.z_surprise:
        found = surprises(prior, [caption] * len(texts), texts)
        slips = [nats > settings.z_surprise for nats in found]
    short = [_shortfall(prior, text, settings) for text in texts]
    return texts[min(range(len(texts)), key=lambda place: (slips[place], short[place]))]
