"""Errors that name the thing, the reason and a hint at the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KaleidoError(Exception):
    """A mistake that a user can mend; the command line prints it without a traceback.

    Args:
        what: The thing that is wrong, named so that the user can find it: a path, a key, an option.
        why: The reason, one sentence.
        hint: What to do about it, often a command to type. Empty if nothing sensible can be said.
    """

    def __init__(self, what: str, why: str, hint: str = "") -> None:
        self.what, self.why, self.hint = what, why, hint
        super().__init__(f"{what}: {why}" + (f" {hint}" if hint else ""))

    def __reduce__(self) -> tuple[type[KaleidoError], tuple[str, str, str]]:
        """Let the error cross from a worker process to the engine."""
        return type(self), (self.what, self.why, self.hint)


class InputMissing(KaleidoError):
    """A stage's input does not exist yet; `hint` names the command that makes it."""


class BadRecord(KaleidoError):
    """One record cannot be used. The row is recorded as failed and the run goes on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the known name nearest to `name`, or lists the known names."""
    known = sorted(known)
    matches = get_close_matches(name, known, n=1)
    return f"Did you mean {matches[0]!r}?" if matches else f"Known: {', '.join(known)}."
