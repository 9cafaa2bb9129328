"""Problems of a document or annotation file, and losses of a conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.core.errors import KaleidoError


@dataclass(frozen=True)
class Problem:
    """An error or warning about a file.

    Attributes:
        path: JSON path such as ``elements[2].box``; empty for the whole file.
        code: A short name that is stable between versions.
        message: One sentence.
        severity: A file with an error is not read; a warning is only reported.
    """

    path: str
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path or 'file'}: {self.message} [{self.code}]"


@dataclass(frozen=True)
class Loss:
    """Something that a conversion cannot represent.

    Attributes:
        path: JSON path in the source document.
        field: Kind of loss, for ``--allow-loss``.
        why: One sentence.
    """

    path: str
    field: str
    why: str


class InvalidDocument(KaleidoError):
    """A document, or a file of another format, is invalid.

    Attributes:
        problems: All problems that were found.
    """

    default_code = "bad-data"

    def __init__(
        self, what: str, why: str, hint: str = "", code: str = "", problems: Sequence[Problem] = ()
    ) -> None:
        super().__init__(what, why, hint, code)
        self.problems = tuple(problems)


def errors_of(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems that are errors."""
    return [problem for problem in problems if problem.severity == "error"]


def require_valid(name: str, problems: Sequence[Problem]) -> None:
    """Raise InvalidDocument with all problems if any of them is an error.

    Args:
        name: Name of the file, for the message.
        problems: The problems that the verifier found.
    """
    errors = errors_of(problems)
    if errors:
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InvalidDocument(
            name,
            f"{errors[0]}{more}",
            "Run `kaleido z verify` to list all problems.",
            problems=problems,
        )
