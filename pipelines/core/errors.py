"""Errors that name the thing, the reason and a hint at the remedy."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

ERROR_CODES = {
    "error": "Any other mistake; the message says all there is to say.",
    "input-missing": "An input that a command needs does not exist yet.",
    "nothing-produced": "A run ended without an error but produced nothing (exit status 3).",
    "bad-option": "A command-line option or argument has a value that cannot be used.",
    "bad-setting": "kaleido.toml, or a flag that overrides it, has a value that cannot be used.",
    "bad-record": "One record cannot be used; it is recorded as failed and the run goes on.",
    "bad-latent": "A latent's values or its text break the rules of its kind.",
    "bad-data": "A source of images or captions cannot be read as what it claims to be.",
    "bad-model": "A model folder or checkpoint is damaged, incomplete or of an unknown kind.",
    "unsafe-model": "A model folder or checkpoint asks to run code, or to read what it must not.",
    "model-mismatch": "Models, or a model and a setting, do not fit each other.",
    "not-comparable": "An evaluation cannot answer the question with these data or settings.",
    "bad-requirement": "A requirement cannot be read, or contradicts another one.",
    "cannot-require": "No z of this model and these kinds can hold what is required.",
    "not-drawn": "What is required was not drawn within the number of tries.",
    "would-overwrite": "The command would replace or remove something; ask for it explicitly.",
    "locked": "Another process is writing there.",
    "no-space": "The disk is full, or the place cannot be written to.",
    "out-of-memory": "The CPU or the GPU ran out of memory.",
    "worker-died": "A worker process ended before its work was done.",
    "cluster": "A cluster cannot be reached, or its nodes cannot do the work.",
    "store": "An object store refused a request, or failed too often.",
    "hub": "The Hugging Face hub refuses a request or cannot be reached, or there is no token.",
    "diverged": "Training met a loss or gradient that is not a number.",
    "not-installed": "A package is needed that only an extra installs.",
    "plugin": "A plug-in does not keep to its contract.",
    "server": "A server of language models cannot be used: it refuses or does not answer.",
    "budget": "The limit on requests or cost is reached; the answers so far are kept.",
    "many-processes": "A launcher asks for a way of training that is not supported.",
    "bad-answers": "A language model has not answered as it was asked, after a number of tries.",
    "network": "Something asked for the network where none is used.",
}
"""Every code that an error may carry, with its meaning; docs/reference/errors.md lists them."""


class KaleidoError(Exception):
    """A mistake that a user can correct; the command line prints it without a traceback.

    Args:
        what: The thing that is wrong, named so that the user can find it: a path, a key, an option.
        why: The reason, one sentence.
        hint: What to do about it, often a command to type. Empty if nothing sensible can be said.
        code: One of `ERROR_CODES`; by default the one of the class.

    Raises:
        ValueError: If the code is not a known one.
    """

    default_code = "error"

    def __init__(self, what: str, why: str, hint: str = "", code: str = "") -> None:
        self.what, self.why, self.hint = what, why, hint
        self.code = code or self.default_code
        if self.code not in ERROR_CODES:
            raise ValueError(f"{self.code!r} is not in ERROR_CODES")
        super().__init__(f"{what}: {why}" + (f" {hint}" if hint else ""))

    def __reduce__(self) -> tuple[type[KaleidoError], tuple[str, str, str, str]]:
        """Let the error cross from a worker process to the engine."""
        return type(self), (self.what, self.why, self.hint, self.code)


class InputMissing(KaleidoError):
    """A stage's input does not exist yet; `hint` names the command that makes it."""

    default_code = "input-missing"


class BadRecord(KaleidoError):
    """One record cannot be used. The row is recorded as failed and the run goes on."""

    default_code = "bad-record"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence that offers the known name nearest to `name`, or lists the known names."""
    known = sorted(known)
    matches = get_close_matches(name, known, n=1)
    return f"Did you mean {matches[0]!r}?" if matches else f"Known: {', '.join(known)}."
