"""What a user requires of z and forbids in it: the language, and whether a z keeps to it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.core.errors import KaleidoError, nearest
from pipelines.documents.colour_words import MEANT, nearest_word, words_of
from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.colours import Colours
from pipelines.latents.description import Description
from pipelines.latents.grammar.required import Region, Required
from pipelines.latents.items import first_mention
from pipelines.latents.palette import Palette
from pipelines.latents.text import GRID

OBJECTS = (Boxes, Blobs)
"""Kinds that hold objects with places."""

_THIRD = 2 * GRID // 3
_ACROSS = {"left": (0, _THIRD), "right": (2 * GRID - _THIRD, 2 * GRID)}
_DOWN = {"top": (0, _THIRD), "bottom": (2 * GRID - _THIRD, 2 * GRID)}
_MIDDLE, _ALL = (_THIRD + 1, 2 * GRID - _THIRD - 1), (0, 2 * GRID)
_SYNONYMS = {"upper": "top", "lower": "bottom", "center": "centre", "middle": "centre"}
PLACES = (*_ACROSS, *_DOWN, "centre")

_FORM = "Write LABEL, LABEL@PLACE, count=N, LABEL.count=N or LABEL.colour=WORD."
_CLAUSE = re.compile(r"[.;:,]")


@dataclass(frozen=True)
class Requirements:
    """What z must and must not hold.

    Attributes:
        texts: As the user wrote them, for messages.
        objects: What boxes and blobs must contain.
        colours: Label and word of colour: an object of the label has this colour.
        barred: Words of colour that must not occur.
    """

    texts: tuple[str, ...] = ()
    objects: Required = Required()
    colours: tuple[tuple[str, str], ...] = ()
    barred: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is required."""
        return bool(self.texts)


def read_requirements(require: Sequence[str], forbid: Sequence[str]) -> Requirements:
    """Parse requirements such as ``star@top left``, ``count=3`` or ``circle.colour=blue``.

    Args:
        require: What z must hold, see `_FORM`.
        forbid: Words of colour or labels; ``colour=orange`` and ``label=orange`` say which.

    Raises:
        KaleidoError: If one cannot be read, or they contradict each other.
    """
    totals: set[int] = set()
    exact: dict[str, set[int]] = {}
    needs: list[tuple[str, Region | None]] = []
    colours: list[tuple[str, str]] = []
    for text in require:
        left, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            label, _, place = (part.strip() for part in left.partition("@"))
            needs.append((_label(label, text), region_of(place) if "@" in left else None))
        elif left == "count":
            totals.add(_number(value, text))
        else:
            label, _, name = (part.strip() for part in left.rpartition("."))
            if name == "count":
                exact.setdefault(_label(label, text), set()).add(_number(value, text))
            elif name in ("colour", "color"):
                colours.append((_label(label, text), _colour(value, text)))
            else:
                raise _unreadable(text, f"{name!r} is nothing that can be required.")
    barred, labels = _forbidden(forbid)
    named = [(str(total), "count", totals) for total in totals]
    named += [(label, f"{label}.count", numbers) for label, numbers in exact.items()]
    for _, name, numbers in named:
        if len(numbers) > 1:
            raise _contradiction(f"{name} cannot be {' and '.join(map(str, sorted(numbers)))}.")
    needs += [(label, None) for label, _ in colours if label not in {name for name, _ in needs}]
    fixed = tuple((label, *numbers) for label, numbers in sorted(exact.items()))
    objects = Required(min(totals, default=None), fixed, tuple(needs), frozenset(labels))  # type: ignore[arg-type]
    texts = (*require, *(f"no {word}" for word in forbid))
    found = Requirements(texts, objects, tuple(colours), tuple(barred))
    _require_consistent(found)
    return found


def region_of(place: str) -> Region:
    """Return the region that a place names: a third of the picture, or a corner of thirds.

    Args:
        place: ``left``, ``right``, ``top``, ``bottom``, ``centre``, or two of them, as in
            ``top left``; ``upper``, ``lower``, ``middle`` and ``center`` are read too.

    Raises:
        KaleidoError: If it is no place.
    """
    words = [_SYNONYMS.get(word, word) for word in re.split(r"[\s-]+", place.lower()) if word]
    words = [word for word in words if word not in ("the", "at", "on", "in")]
    across = [_ACROSS[word] for word in words if word in _ACROSS]
    down = [_DOWN[word] for word in words if word in _DOWN]
    unknown = [word for word in words if word not in PLACES]
    if not words or unknown or len(across) > 1 or len(down) > 1:
        wrong = unknown[0] if unknown else place
        raise KaleidoError(
            f"the place {place!r}",
            "it is none of " + ", ".join(PLACES) + ", or two of them, such as top left.",
            nearest(wrong, PLACES),
            code="bad-requirement",
        )
    if "centre" in words:  # "centre" alone is the middle; "top centre" the middle of the top
        return Region(across[0] if across else _MIDDLE, down[0] if down else _MIDDLE)
    return Region(across[0] if across else _ALL, down[0] if down else _ALL)


def require_possible(
    wanted: Requirements, kinds: Sequence[str], labels: Sequence[str], given: Sequence[str] = ()
) -> None:
    """Refuse requirements that no z of these kinds can meet, before anything is drawn.

    Args:
        wanted: The requirements.
        kinds: Kinds of z.
        labels: All labels that the prior knows; empty if it can write any.
        given: Kinds of z that are given and checked elsewhere.

    Raises:
        KaleidoError: If a label is unknown, or no kind can tell.
    """
    objects = wanted.objects
    asked = [label for label, _ in (*objects.needs, *objects.exact)]
    unknown = [label for label in asked if labels and label not in labels]
    if unknown:
        raise KaleidoError(
            f"the label {unknown[0]!r}",
            f"this prior draws {', '.join(labels)} only.",
            nearest(unknown[0], labels),
            code="cannot-require",
        )
    if objects != Required() and not {cls.kind for cls in OBJECTS} & {*kinds, *given}:
        raise _no_kind(wanted, "boxes or blobs", kinds)
    coloured = {"description", "palette", Colours.kind}
    if (wanted.colours or wanted.barred) and not coloured & {*kinds, *given}:
        raise _no_kind(wanted, "colours, a description or a palette", kinds)


def broken(wanted: Requirements, z: Mapping[str, Latent]) -> list[str]:
    """List what a z does not keep to; empty if it keeps to all.

    Boxes and blobs are checked each. A colour of an object must be one of its colours, be said in
    the description, in a clause that names the object and no other colour, and be in the palette,
    as far as z has these kinds.
    """
    wrong = []
    for cls in OBJECTS:
        latent = z.get(cls.kind)
        if isinstance(latent, cls):
            centres = [cls.centre(cls._numbers_of(item)) for item in latent.items]
            if not wanted.objects.holds([item.label for item in latent.items], centres):
                wrong.append(cls.kind)
    colours = z.get(Colours.kind)
    if isinstance(colours, Colours) and not _coloured(wanted, colours):
        wrong.append(Colours.kind)
    description, palette = z.get("description"), z.get("palette")
    if isinstance(description, Description) and not _describes(wanted, description.text):
        wrong.append("description")
    if isinstance(palette, Palette):
        present = words_of(palette)
        required = {word for _, word in wanted.colours}
        if not required <= present or present & set(wanted.barred):
            wrong.append("palette")
    return wrong


def barred_colours(wanted: Requirements) -> np.ndarray:
    """Return the colours that a palette must keep away from, OKLab, float (n, 3)."""
    return np.array([MEANT[word] for word in wanted.barred]).reshape(-1, 3)


def _coloured(wanted: Requirements, colours: Colours) -> bool:
    """Return whether objects have the colours that are required of them, and no barred ones."""
    shown = [(item.label, {nearest_word(c) for c in item.hexes}) for item in colours.items]
    barred = set(wanted.barred)
    return not any(words & barred for _, words in shown) and all(
        any(label == name and colour in words for name, words in shown)
        for label, colour in wanted.colours
    )


def _describes(wanted: Requirements, text: str) -> bool:
    text = text.lower().replace("gray", "grey")
    words = set(re.findall(r"\w+", text))
    named = [label for label in wanted.objects.forbidden if first_mention(label, text) < len(text)]
    if named or words & set(wanted.barred):
        return False
    clauses = [clause for clause in _CLAUSE.split(text) if clause.strip()]
    return all(any(_says(clause, *pair) for clause in clauses) for pair in wanted.colours)


def _says(clause: str, label: str, colour: str) -> bool:
    colours = {word for word in re.findall(r"\w+", clause) if word in MEANT}
    return first_mention(label, clause) < len(clause) and colours == {colour}


def _forbidden(forbid: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split what is forbidden into words of colour and labels."""
    barred, labels = [], []
    for text in forbid:
        kind, equals, word = (part.strip() for part in text.rpartition("="))
        if kind in ("colour", "color") or (not equals and word in (*MEANT, "gray")):
            barred.append(_colour(word, text))
        elif kind == "label" or not equals:
            labels.append(_label(word, text))
        else:
            raise _unreadable(text, "only colour=WORD and label=LABEL can be forbidden by name.")
    return barred, labels


def _require_consistent(wanted: Requirements) -> None:
    objects = wanted.objects
    named = {label for label, _ in objects.needs} | {label for label, n in objects.exact if n}
    both = sorted(named & objects.forbidden) + sorted(
        {c for _, c in wanted.colours} & set(wanted.barred)
    )
    if both:
        raise _contradiction(f"{both[0]} is required and forbidden.")
    if not objects.can_follow((), (), max(cls.max_items for cls in OBJECTS)):
        raise _contradiction("they ask for more objects than their counts allow.")


def _label(label: str, text: str) -> str:
    if not label:
        raise _unreadable(text, "it names no label.")
    return label


def _number(value: str, text: str) -> int:
    most = max(cls.max_items for cls in OBJECTS)
    if not value.isascii() or not value.isdigit() or not 0 <= int(value) <= most:
        raise _unreadable(text, f"{value!r} is no number from 0 to {most}.")
    return int(value)


def _colour(word: str, text: str) -> str:
    word = "grey" if word == "gray" else word
    if word not in MEANT:
        raise KaleidoError(
            f"the requirement {text!r}",
            f"{word!r} is none of the colours {', '.join(MEANT)}.",
            nearest(word, tuple(MEANT)),
            code="bad-requirement",
        )
    return word


def _unreadable(text: str, why: str) -> KaleidoError:
    return KaleidoError(f"the requirement {text!r}", why, _FORM, code="bad-requirement")


def _contradiction(why: str) -> KaleidoError:
    return KaleidoError("the requirements", why, "Leave one out.", code="bad-requirement")


def _no_kind(wanted: Requirements, needed: str, kinds: Sequence[str]) -> KaleidoError:
    return KaleidoError(
        "the requirement " + ", ".join(map(repr, wanted.texts)),
        f"z of {', '.join(kinds)} cannot tell; it takes {needed}.",
        "Choose other kinds with --z.",
        code="cannot-require",
    )
