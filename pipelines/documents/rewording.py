"""Words for colours, sizes and places in a description, and how an edit changes them.

Descriptions are free English text. A word is changed only where it is clear whose word it is, so
some descriptions keep saying what was before; `kaleido edit --describe` replaces them.
"""

from __future__ import annotations

import math
import re

from pipelines.latents.oklab import hex_to_oklab

COLOUR_WORDS = {
    "black": "#101010",
    "grey": "#909090",
    "gray": "#909090",
    "white": "#F8F8F8",
    "red": "#E02020",
    "orange": "#F08020",
    "yellow": "#F8D020",
    "green": "#30A040",
    "teal": "#20A0A0",
    "blue": "#2858D8",
    "purple": "#8030B0",
    "pink": "#F070B0",
    "brown": "#8B5A2B",
}
"""English colour words with typical colours."""

ALIKE = 0.2
"""Largest OKLab distance at which a word can denote a colour."""

SIZE_WORDS = {
    "tiny": 0,
    "little": 0,
    "small": 0,
    "medium": 1,
    "medium-sized": 1,
    "big": 2,
    "large": 2,
    "huge": 2,
}
"""English words for sizes -> index in `SIZES`."""

SIZES = ("small", "medium", "large")
"""The words that are written."""

STEP = 1.5
"""Ratio of areas that makes the next size word: half as much again."""

ROWS = {"top": 0, "upper": 0, "middle": 1, "centre": 1, "center": 1, "bottom": 2, "lower": 2}
COLUMNS = {"left": 0, "middle": 1, "centre": 1, "center": 1, "right": 2}
"""Words for the thirds of the picture -> index, from the top and from the left."""

_OF_ANOTHER = (
    r"(?! (?:side |corner |edge )?of (?!the (?:picture|image|frame|photo|photograph|scene)\b))"
)
"""Refuses the side of another thing: "on the left of the house", but not "of the picture"."""

_PAIR = re.compile(
    rf"\b({'|'.join(ROWS)})([ -])({'|'.join(COLUMNS)})\b{_OF_ANOTHER}", re.IGNORECASE
)
_SIDE = re.compile(rf"\b(?:on|at|to|in) the (left|right|top|bottom)\b{_OF_ANOTHER}", re.IGNORECASE)
_SIDES = {"left": (1, 0), "right": (1, 2), "top": (0, 0), "bottom": (0, 2)}
_WRITTEN = (
    {0: "at the top", 1: "in the middle", 2: "at the bottom"},
    {0: "on the left", 1: "in the middle", 2: "on the right"},
)
_BREAK = re.compile(r"[;:.,]|\band\b", re.IGNORECASE)
_SIZE = re.compile(rf"\b({'|'.join(sorted(SIZE_WORDS, key=len, reverse=True))})\b", re.IGNORECASE)

Point = tuple[float, float]


def recoloured(text: str, label: str, centre: Point | None, before: str, after: str) -> str:
    """Replace the word for an element's colour, if there is one.

    It is looked for in the clause about the element; if none is clearly that, it is the word for
    this colour that is nearest to the label.

    Args:
        text: The description.
        label: The element's label.
        centre: Its centre in fractions, which tells it from others of its label; None if unknown.
        before: Its colour so far, ``#rrggbb``.
        after: Its new colour.
    """
    span = None if centre is None else _clause(text, label, centre)
    start, end = span or (0, len(text))
    place = re.compile(rf"\b{re.escape(label)}", re.IGNORECASE).search(text, start, end)
    named = re.compile(rf"\b({'|'.join(COLOUR_WORDS)})\b", re.IGNORECASE)
    words = list(named.finditer(text, start, end))
    alike = [w for w in words if colour_distance(COLOUR_WORDS[w.group().lower()], before) < ALIKE]
    if span is not None and len(words) == 1:
        alike = words  # it is the element's, even where the picture shows another colour
    if place is None or not alike:
        return text
    word = min(alike, key=lambda w: abs(w.start() - place.start()))
    name = min(COLOUR_WORDS, key=lambda name: colour_distance(COLOUR_WORDS[name], after))
    return text[: word.start()] + name + text[word.end() :]


def resized(text: str, label: str, centre: Point, factor: float) -> str:
    """Replace the word for an element's size, one word for each `STEP` of its area.

    Args:
        text: The description.
        label: The element's label.
        centre: Its centre in fractions, which tells it from others of its label.
        factor: By which its sides grow.
    """
    span = _clause(text, label, centre)
    steps = round(math.log(factor**2, STEP))
    if span is None or steps == 0:
        return text

    def other(match: re.Match[str]) -> str:
        index = SIZE_WORDS[match.group().lower()]
        after = min(max(index + steps, 0), len(SIZES) - 1)
        return match.group() if after == index else SIZES[after]

    changed = _SIZE.sub(other, text[span[0] : span[1]], count=1)
    return text[: span[0]] + changed + text[span[1] :]


def moved(text: str, label: str, before: Point, after: Point) -> str:
    """Replace the words for an element's place, which name thirds of the picture.

    Args:
        text: The description.
        label: The element's label.
        before: Its centre so far, in fractions.
        after: Its new centre.
    """
    span = _clause(text, label, before)
    if span is None or _thirds(before) == _thirds(after):
        return text
    clause = text[span[0] : span[1]]
    changed = _PAIR.sub(lambda match: _pair(match, _thirds(after)), clause, count=1)
    if changed == clause:
        changed = _SIDE.sub(lambda match: _side(match, _thirds(after)), clause, count=1)
    return text[: span[0]] + changed + text[span[1] :]


def clauses(text: str) -> list[tuple[int, int]]:
    """Return where the clauses of a text begin and end: between punctuation marks and "and"."""
    breaks = [0, *(match.end() for match in _BREAK.finditer(text)), len(text)]
    return list(zip(breaks, breaks[1:], strict=False))


def stated_place(clause: str) -> tuple[int | None, int | None] | None:
    """Return row and column of the place that a clause states, among thirds.

    One of the two is None where the clause states a side alone, as in "on the left". None if it
    states no place of the picture.
    """
    if match := _PAIR.search(clause):
        return ROWS[match[1].lower()], COLUMNS[match[3].lower()]
    if match := _SIDE.search(clause):
        axis, index = _SIDES[match[1].lower()]
        return (index, None) if axis == 0 else (None, index)
    return None


def stated_size(clause: str) -> int | None:
    """Return the index in `SIZES` of the size that a clause states; None if it states none."""
    match = _SIZE.search(clause)
    return None if match is None else SIZE_WORDS[match[1].lower()]


def colour_distance(first: str, second: str) -> float:
    """Return the OKLab distance between two colours ``#rrggbb``."""
    return float(((hex_to_oklab(first) - hex_to_oklab(second)) ** 2).sum() ** 0.5)


def _clause(text: str, label: str, centre: Point) -> tuple[int, int] | None:
    """Find the clause about an element; None if it is not clear which one that is.

    Of several that name the label, it is the one that states the element's place.
    """
    named = re.compile(rf"\b{re.escape(label)}\b", re.IGNORECASE)
    about = [span for span in clauses(text) if named.search(text, *span)]
    if len(about) > 1:
        about = [s for s in about if stated_place(text[s[0] : s[1]]) == _thirds(centre)]
    return about[0] if len(about) == 1 else None


def _thirds(point: Point) -> tuple[int, int]:
    """Return row and column of a point among thirds."""
    return min(max(int(point[1] * 3), 0), 2), min(max(int(point[0] * 3), 0), 2)


def _pair(match: re.Match[str], place: tuple[int, int]) -> str:
    row, gap, column = match.groups()
    middle = "center" if "center" in (row.lower(), column.lower()) else "centre"
    high = ("upper", "middle", "lower") if row.lower() in ("upper", "lower") else None
    rows = high or ("top", "middle", "bottom")
    if ROWS[row.lower()] != place[0]:
        row = rows[place[0]]
    if COLUMNS[column.lower()] != place[1]:
        column = ("left", middle, "right")[place[1]]
    return f"{row}{gap}{column}"


def _side(match: re.Match[str], place: tuple[int, int]) -> str:
    axis, index = _SIDES[match[1].lower()]
    return match.group() if place[axis] == index else _WRITTEN[axis][place[axis]]
