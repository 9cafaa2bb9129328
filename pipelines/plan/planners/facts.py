"""What a caption fixes, what it leaves open, and whether a plan keeps to it.

The reading is of plain English by lists of words: no parser has to be installed, and the same
caption gives the same facts everywhere. It is cautious: what it does not understand is not fixed.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.documents.document import Document, Element

_ENGLISH = tomllib.loads(Path(__file__).with_name("english.toml").read_text("utf-8"))
_WORDS = {name: tuple(v.split()) for name, v in _ENGLISH.items() if isinstance(v, str)}

COLOURS = _WORDS["colours"]
"""Words for colours, which captions fix."""

_IRREGULAR: dict[str, str] = _ENGLISH["irregular"]
_SINGLE = ("a", "an", "another")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*|\d+|[^\w\s]")

MOST_SINGLE = 8
"""More objects of one kind than this are one element with a count."""


@dataclass(frozen=True)
class Named:
    """A kind of object that a caption names.

    Attributes:
        noun: Its name in the singular, in lower case.
        colours: The colours that it is given.
        count: How many there are; None if the caption leaves it open.
    """

    noun: str
    colours: tuple[str, ...]
    count: int | None

    @property
    def phrase(self) -> str:
        """Colours and noun, as a label."""
        return " ".join((*self.colours, self.noun))

    def __str__(self) -> str:
        """Describe what is fixed, for people and models."""
        return f"{'at least one' if self.count is None else self.count} × {self.phrase}"


def read_facts(caption: str) -> tuple[Named, ...]:
    """Read the objects that a caption names, with counts and colours, in its order."""
    found: list[Named] = []
    chunk: list[str] = []
    for word in [*_WORD.findall(caption.lower()), "."]:
        if word == "and" and chunk and chunk[-1] in COLOURS:
            continue  # "a black and white cat"
        starts = word in (*_SINGLE, *_WORDS["openers"], *_NUMBERS) or word.isdecimal()
        ends = word in _WORDS["boundaries"] or not word[0].isalnum() or _is_participle(word, chunk)
        if starts or ends:
            found += _named(chunk)
            chunk = [] if ends else [word]
        else:
            chunk.append(word)
    return tuple(_merged(found))


def open_points(facts: Sequence[Named], caption: str) -> list[str]:
    """List what a caption leaves open, which plans may fill in differently."""
    words = set(_WORD.findall(caption.lower()))
    points = ["places and sizes" if facts else "what is to be seen"]
    points += [f"the number of {named.noun}s" for named in facts if named.count is None]
    bare = [named.noun for named in facts if not named.colours]
    points += [f"the colour of the {noun}" for noun in bare]
    if not words & {"background", "on", "in", "at"}:
        points.append("the background")
    if not words & {"light", "sunset", "sunrise", "night", "sunny", "dark", "bright"}:
        points.append("the light")
    if not words & {*_WORDS["frames"], "style"}:
        points.append("the style")
    return points


def contradictions(facts: Sequence[Named], document: Document) -> list[str]:
    """List what in a plan contradicts its caption; empty if nothing does.

    Args:
        facts: Of the caption.
        document: The plan.
    """
    elements = document.elements or ()
    found: list[str] = []
    for noun in dict.fromkeys(named.noun for named in facts):
        group = [named for named in facts if named.noun == noun]
        own = [element for element in elements if names(element, noun)]
        there = sum(element.count or 1 for element in own)
        counts = [named.count for named in group]
        if None not in counts and there != sum(count or 0 for count in counts):
            found.append(f"{there} × {noun} in place of {sum(count or 0 for count in counts)}")
        elif there < len(group):
            found.append(f"no {noun}")
        found += _wrong_colours(group, own)
    texts = [document.description, document.background, *(e.description for e in elements)]
    for said in read_facts(". ".join(filter(None, texts))):
        fixed = [named.count for named in facts if named.noun == said.noun]
        total = sum(count or 0 for count in fixed)
        if fixed and None not in fixed and said.count is not None and said.count > total:
            found.append(f"the text speaks of {said.count} × {said.noun} in place of {total}")
    return found


def names(element: Element, noun: str) -> bool:
    """Return whether an element is a thing of this name."""
    return head_of(element.label or "") == noun


def head_of(phrase: str) -> str:
    """Return the noun of a label in the singular: ``kite`` of "red kites with tails"."""
    facts = read_facts(phrase)
    if facts:
        return facts[0].noun
    words = phrase.lower().split()
    return singular(words[-1]) if words else ""


def singular(word: str) -> str:
    """Return a noun in the singular, by the usual endings of English."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if re.search(r"(s|x|z|ch|sh)es$", word):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 2:
        return word[:-1]
    return word


def _is_participle(word: str, chunk: Sequence[str]) -> bool:
    """Whether a word says what the thing before it does: "a dog *running*", "a man *dressed*"."""
    has_noun = any(_is_noun(each) for each in chunk)
    return has_noun and word.endswith(("ing", "ed")) and word not in _WORDS["nouns"]


def _is_noun(word: str) -> bool:
    others = (*_SINGLE, *_NUMBERS, *COLOURS, *_WORDS["openers"], *_WORDS["adjectives"])
    return not word.isdecimal() and word not in others


def _named(chunk: Sequence[str]) -> list[Named]:
    nouns = [word for word in chunk if _is_noun(word)]
    if not nouns or nouns[-1] in (*_WORDS["not_things"], *_WORDS["frames"]):
        return []
    begins = chunk[0] in (*_SINGLE, *_WORDS["openers"], *_NUMBERS, *COLOURS) or chunk[0].isdecimal()
    if not begins and singular(nouns[-1]) == nouns[-1]:
        return []  # "sunset", or a verb: nothing says that this is a thing
    count = None
    if chunk[0] in _SINGLE:
        count = 1
    elif chunk[0] in _NUMBERS:
        count = 1 + _NUMBERS.index(chunk[0])
    elif chunk[0].isdecimal():
        count = int(chunk[0]) if 0 < int(chunk[0]) <= 1000 else None
    noun = singular(nouns[-1])
    colours = tuple(dict.fromkeys(word for word in chunk if word in COLOURS and word != noun))
    return [Named(noun, colours, count)]


def _merged(found: Sequence[Named]) -> list[Named]:
    """Drop later mentions: "a cat … the cat"."""
    kept: list[Named] = []
    for named in found:
        earlier = [each for each in kept if each.noun == named.noun]
        if not (earlier and named.count is None):
            kept.append(named)
    return kept


def _wrong_colours(group: Sequence[Named], own: Sequence[Element]) -> list[str]:
    found = []
    allowed = {colour for named in group for colour in named.colours}
    for named in group:
        for colour in named.colours:
            right = sum(e.count or 1 for e in own if colour in _words(e))
            if right < (named.count or 1):
                found.append(f"{named.noun} that is not {colour}")
    if allowed and all(named.colours for named in group):
        for element in own:
            label = set(_WORD.findall((element.label or "").lower()))
            found += [f"{named.noun} that is {c}" for c in COLOURS if c in label - allowed]
    return found


def _words(element: Element) -> set[str]:
    return set(_WORD.findall(f"{element.label} {element.description or ''}".lower()))
