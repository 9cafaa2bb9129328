"""Which words of colour a palette has a colour for."""

from __future__ import annotations

import re

import numpy as np

from pipelines.documents.rewording import COLOUR_WORDS
from pipelines.latents.oklab import hex_to_oklab
from pipelines.latents.palette import Palette

NEAR = 0.1
"""OKLab distance within which a colour of a palette is what a word of colour means. In scenes every
word has one so near, and one in a hundred of the words that are not said."""

MEANT = {
    word: np.array(hex_to_oklab(code)) for word, code in COLOUR_WORDS.items() if word != "gray"
}
"""Word -> its colour in OKLab, float (3,)."""


def nearest_word(colour: str) -> str:
    """Return the word whose colour is nearest to ``#rrggbb``."""
    lab = hex_to_oklab(colour)
    return min(MEANT, key=lambda word: float(np.linalg.norm(MEANT[word] - lab)))


def words_of(palette: Palette) -> set[str]:
    """Return the words of colour that a palette has a colour for."""
    colours = np.stack([colour.oklab for colour in palette.items])
    return {
        word
        for word, meant in MEANT.items()
        if np.linalg.norm(colours - meant, axis=1).min() <= NEAR
    }


_SAID = re.compile(rf"\b({'|'.join(MEANT)})\b")


def colours_said(text: str) -> set[str]:
    """Return the words of colour in a text, in British spelling."""
    return set(_SAID.findall(text.lower().replace("gray", "grey")))
