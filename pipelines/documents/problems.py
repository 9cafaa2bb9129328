"""What is wrong with a document or an annotation file, and what a conversion loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.core.errors import KaleidoError


@dataclass(frozen=True)
class Problem:
    """One fault of a file.

    Attributes:
        path: Where it is, as a JSON path such as ``elements[2].box``; empty for the whole file.
        code: A short name that does not change between versions.
        message: One sentence.
        severity: A file with an error is not read; a warning only informs.
    """

    path: str
    code: str
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.path or 'file'}: {self.message} [{self.code}]"


@dataclass(frozen=True)
class Loss:
    """One thing that a conversion cannot carry over.

    Attributes:
        path: Where it was in what was read.
        field: The name of the kind of loss, which ``--allow-loss`` takes.
        why: One sentence.
    """

    path: str
    field: str
    why: str


class InvalidDocument(KaleidoError):
    """A document, or a file of another format, breaks the rules of its format.

    Attributes:
        problems: Every fault that was found.
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
    """Raise InvalidDocument if any problem is an error; it carries all of them.

    Args:
        name: The file's name, for the message.
        problems: What its verifier found.
    """
    errors = errors_of(problems)
    if errors:
        more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InvalidDocument(
            name,
            f"{errors[0]}{more}",
            "`kaleido z verify` lists every problem.",
            problems=problems,
        )
