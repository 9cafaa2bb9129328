"""The text form of z: numbers, markers, separators and escaped text.

Coordinates lie on one grid of integers from 0 to `GRID`. In text a number is written ``<n>``, a
single added token of the prior's vocabulary: four coordinates cost four tokens, and digits in
captions keep their own tokens. Everything else is printable ASCII. Other characters are
percent-encoded (`escape`), because SentencePiece normalises white space and drops characters it
does not know.
"""

from __future__ import annotations

import string
from typing import Any
from urllib.parse import unquote

from pipelines.core.errors import KaleidoError

GRID = 1000
"""The largest coordinate; the grid has ``GRID + 1`` values."""

SEPARATOR = "<;>"
"""Separates items. It is an added token, so captions keep their semicolons."""

DEFAULT_ORDER = ("description", "boxes", "blobs", "colours", "tokens", "palette")
"""Kaleido's own kinds in the order of the paper; each part of z is predicted from those before it.

Kinds that plug-ins add follow in alphabetical order. `registry.KINDS` maps these names to classes.
"""

SHIPPED_KINDS = ("description", "boxes", "blobs", "tokens", "palette")
"""The kinds that the shipped models know. Their markers are in every vocabulary; those of other
kinds join a vocabulary if the prior is trained on them, so that token ids stay as they are."""

SENTENCE_MARKS = '!?:;"()/&'
"""Punctuation left unescaped in descriptions. Labels escape it, since separators delimit them."""

_SAFE = frozenset(string.ascii_letters + string.digits + ".,'-")

SAFE_CHARACTERS = "".join(sorted(_SAFE)) + "%"
"""Characters of an escaped label, besides single inner spaces."""


class LatentError(KaleidoError):
    """A latent, or its text, breaks the rules of its kind."""

    default_code = "bad-latent"


def marker(kind: str) -> str:
    """Return the token that opens a kind's part of z."""
    return f"<{kind}>"


def number(value: int) -> str:
    """Return the token of a grid value, ``<n>``."""
    return f"<{value}>"


NUMBERS = tuple(number(value) for value in range(GRID + 1))
"""The number tokens in ascending order."""


def escape(text: str, more_safe: str = "") -> str:
    """Percent-encode text so that every tokenizer returns it unchanged.

    Letters, digits, ``.,'-`` and single inner spaces stay as they are; other white space,
    brackets, separators and non-ASCII characters are encoded as UTF-8 bytes.

    Args:
        text: Any text.
        more_safe: Further ASCII characters to leave unescaped.
    """
    safe = _SAFE.union(more_safe)
    out = []
    for index, char in enumerate(text):
        inner = 0 < index < len(text) - 1 and text[index - 1] != " "
        if char in safe or (char == " " and inner):
            out.append(char)
        else:
            out.extend(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))
    return "".join(out)


def unescape(text: str) -> str:
    """Undo `escape`.

    Raises:
        UnicodeDecodeError: If the escapes are not UTF-8.
    """
    return unquote(text, errors="surrogatepass")


def check_label(what: str, label: Any) -> None:
    """Raise LatentError unless the label is a non-empty string that UTF-8 can encode.

    Args:
        what: The thing to name in the error.
        label: The value to check.
    """
    if not isinstance(label, str) or not label:
        raise LatentError(what, f"the label {label!r} is not a non-empty string.")
    try:
        label.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LatentError(what, f"the label {label!r} contains a lone surrogate.") from error
