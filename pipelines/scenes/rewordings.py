"""Captions of scenes in free words: synonyms, numerals, other orders, negations, misspellings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.core.record import Record
from pipelines.latents.items import first_mention
from pipelines.scenes.captions import NUMBERS, P_COLOUR_STATED, WORDINGS
from pipelines.scenes.factors import P_SHAPE, SHAPES

NAME = "scenes 1"
"""Raised when the same record is worded otherwise."""

P_PLAIN = 0.4
"""Share of the captions that stay as they are."""

P_FORM = 0.25
"""Probability that a group of shapes is written in a form of its own, and not in the caption's."""

SYNONYMS = {
    "circle": ("disc", "ball", "dot", "disk"),
    "square": ("box", "block", "cube"),
    "oval": ("ellipse", "egg", "bean"),
    "star": ("asterisk", "starlet"),
    "heart": ("valentine", "love heart"),
    "triangle": ("wedge", "pyramid"),
    "hexagon": ("honeycomb",),
}
FRAMES = (
    *WORDINGS,
    "draw {list}",
    "show me {list}, please",
    "{list} together",
    "this is {list}",
    "a scene of {list}",
    "a page that shows {list}",
    "there should be {list}",
)
QUANTITIES = {
    1: ("one lone", "one single", "exactly one", "only one"),
    2: ("a couple of", "one pair of", "exactly two", "twin"),
    3: ("one trio of", "a triple of", "exactly three", "a group of three"),
}
ORDERS = {
    1: ("{many}: one", "one of them, a {one}", "{one} (just one)", "of {many} just one"),
    2: ("{many}: two", "two of them, {many}", "{many} (two of them)", "of {many} two"),
    3: ("{many}: three", "three of them, {many}", "{many} (three of them)", "of {many} three"),
}
ABSENT = (
    " and no {many}",
    "; no {many} here",
    " with no {one}",
    ", but not a single {one}",
    ", but not one {one}",
    " without {many}",
    " without any {one}",
    "; the {one} is missing",
)
ADJECTIVES = (
    *(
        "shimmering",
        "golden",
        "old",
        "little",
        "glass",
        "paper",
        "soft",
        "heavy",
        "bright",
        "dusty",
    ),
    *("painted", "broken", "lovely", "round", "metal", "sleepy", "funny", "new", "plastic", "cold"),
)
PLACES = (
    *("in a garden", "at noon", "under a tree", "for my friend", "on the table", "in the snow"),
    *("by the sea", "over the hills", "in space", "from my dream", "near a river", "at school"),
)

USUAL = tuple(shape for shape, p in zip(SHAPES, P_SHAPE, strict=True) if p)


class Group(NamedTuple):
    """Equal shapes of a scene.

    Attributes:
        shape: Their shape.
        number: How many.
        colour: Their colour, if a caption may state it; else empty.
    """

    shape: str
    number: int
    colour: str = ""


Phrase = Callable[[Group, np.random.Generator], str]
"""(group, source of randomness) -> how a caption says it."""


def reword(record: Record, rng: np.random.Generator) -> str:
    """Write the caption of a scene's record anew, `P_PLAIN` of them excepted.

    It names shapes, numbers, and sometimes one colour or what is not there, in the order of the
    record's caption, in which z lists the objects.

    Args:
        record: Of `pipelines.scenes.generate`, with its truth.
        rng: The source of all randomness.
    """
    if rng.random() < P_PLAIN:
        return record.caption
    return write_freely(groups_of(record, rng), rng)


def groups_of(record: Record, rng: np.random.Generator) -> list[Group]:
    """Return a scene's groups of equal shapes, as its caption orders them."""
    colours: dict[str, list[str]] = {}
    for item in record.meta["truth"]["objects"]:
        colours.setdefault(item["shape"], []).append(item["colour"])
    shapes = sorted(colours, key=lambda shape: first_mention(shape, record.caption))
    stated = str(rng.choice(shapes)) if rng.random() < P_COLOUR_STATED else ""
    return [
        Group(
            shape,
            len(colours[shape]),
            colours[shape][0] if shape == stated and len(set(colours[shape])) == 1 else "",
        )
        for shape in shapes
    ]


def write_freely(groups: Sequence[Group], rng: np.random.Generator) -> str:
    """Write a caption in free words."""
    form = _any_form(rng)
    phrases = [(_any_form(rng) if rng.random() < P_FORM else form)(group, rng) for group in groups]
    if form is _ordered or rng.random() < 0.1:
        listed = str(rng.choice(["; ", ", "])).join(phrases)
    else:
        listed = " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
    if rng.random() < 0.15:
        listed += " " + str(rng.choice(PLACES))
    if rng.random() < 0.25:
        present = {group.shape for group in groups}
        absent = str(rng.choice([shape for shape in USUAL if shape not in present]))
        name = str(rng.choice([absent, absent, *SYNONYMS[absent]]))
        listed += str(rng.choice(ABSENT)).format(one=name, many=plural(name))
    caption = str(rng.choice(FRAMES)).format(list=listed)
    if rng.random() < 0.1:
        caption = caption[0].upper() + caption[1:]
    return caption + "." if rng.random() < 0.1 else caption


def misspelt(word: str, rng: np.random.Generator) -> str:
    """Swap two neighbouring letters, drop one, double one, or take a neighbour for one."""
    at = int(rng.integers(0, len(word) - 1))
    letter = chr(int(rng.integers(ord("a"), ord("z") + 1)))
    changed = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
        word[:at] + letter + word[at + 1 :],
    )
    different = [text for text in changed if text != word]
    return different[int(rng.integers(len(different)))]


def plural(name: str) -> str:
    """Return the plural of a shape's name."""
    return f"{name}{'es' if name.endswith('x') else 's'}"


def _any_form(rng: np.random.Generator) -> Phrase:
    return _FORMS[int(rng.choice(len(_FORMS), p=_P_FORMS))]


def _counted(number: str, group: Group, name: str, adjective: str = "") -> str:
    words = [number, adjective, group.colour, name if group.number == 1 else plural(name)]
    phrase = " ".join(filter(None, words))
    if number == "a" and phrase[2] in "aeiou":
        return f"an{phrase[1:]}"
    return phrase


def _plain(group: Group, rng: np.random.Generator) -> str:
    return _counted(NUMBERS[group.number], group, group.shape)


def _synonym(group: Group, rng: np.random.Generator) -> str:
    return _counted(NUMBERS[group.number], group, str(rng.choice(SYNONYMS[group.shape])))


def _numeral(group: Group, rng: np.random.Generator) -> str:
    number = f"{group.number}{rng.choice(['', '', ' x'])}"
    return _counted(number, group, _name(group, rng))


def _quantity(group: Group, rng: np.random.Generator) -> str:
    choices = QUANTITIES.get(group.number, (NUMBERS[group.number],))
    return _counted(str(rng.choice(choices)), group, _name(group, rng))


def _ordered(group: Group, rng: np.random.Generator) -> str:
    name = _name(group, rng)
    one, many = (" ".join(filter(None, [group.colour, each])) for each in (name, plural(name)))
    if group.number not in ORDERS:
        return f"{many}: {NUMBERS[group.number]}"
    return str(rng.choice(ORDERS[group.number])).format(one=one, many=many)


def _adorned(group: Group, rng: np.random.Generator) -> str:
    adjective = str(rng.choice(ADJECTIVES))
    if rng.random() < 0.3:  # a word that is none, so that no list of words is learned by heart
        adjective = "".join(map(chr, rng.integers(ord("a"), ord("z") + 1, rng.integers(4, 9))))
    return _counted(NUMBERS[group.number], group, _name(group, rng), adjective)


def _misspelt(group: Group, rng: np.random.Generator) -> str:
    return _counted(NUMBERS[group.number], group, misspelt(group.shape, rng))


def _name(group: Group, rng: np.random.Generator) -> str:
    """Return the shape's usual name, or seldom another one."""
    other = rng.random() < 0.15
    return str(rng.choice(SYNONYMS[group.shape])) if other else group.shape


_FORMS = (_plain, _synonym, _numeral, _quantity, _ordered, _adorned, _misspelt)
_P_FORMS = (0.1, 0.2, 0.1, 0.15, 0.15, 0.15, 0.15)
