"""Noun phrases of a caption, by spaCy: the prompts of an open-vocabulary detector."""

from __future__ import annotations

from importlib.metadata import distributions
from typing import Any

from pipelines.core.errors import KaleidoError

MODELS = "en_core_web"
"""Prefix of the names of spaCy's English models."""

_UNNAMED = ("DET", "PRON", "NUM", "PUNCT", "SPACE")
"""Parts of speech that tell which or how many, not which object."""


def installed_parser() -> tuple[str, str]:
    """Return name and version of the installed English model; of several, the first by name.

    Raises:
        KaleidoError: If there is none.
    """
    known = [(item.name.lower().replace("-", "_"), item.version) for item in distributions()]
    found = sorted(pair for pair in known if pair[0].startswith(MODELS))
    if not found:
        raise KaleidoError(
            "spaCy's English model",
            "it is not installed; it finds the phrases that the detector searches for.",
            "Type: pip install 'kaleido-diffusion[spacy]' && python -m spacy download "
            f"{MODELS}_sm; or name the objects with --find.",
            code="not-installed",
        )
    return found[0]


class NounPhrases:
    """Finds the objects in a caption: "two red dogs" gives "red dog".

    Raises:
        KaleidoError: If spaCy or its English model is not installed.
    """

    def __init__(self) -> None:
        import spacy

        self._parser: Any = spacy.load(installed_parser()[0], exclude=["ner"])

    def __call__(self, caption: str) -> list[str]:
        """Return the phrases in the caption's order, each once, the head noun in the singular."""
        phrases = []
        for chunk in self._parser(caption).noun_chunks:
            words = [
                token.lemma_ if token == chunk.root and token.pos_ == "NOUN" else token.text
                for token in chunk
                if token.pos_ not in _UNNAMED
            ]
            phrases.append(" ".join(words).lower())
        return [phrase for phrase in dict.fromkeys(phrases) if phrase]
