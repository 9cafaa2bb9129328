"""Parts of the data, for several machines that compute latents of one workspace."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.workspace.journal import Journal
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Part:
    """One of several parts of the data, for machines that share a workspace.

    Shards are dealt by their number: part 2 of 3 has the shards 1, 4, 7, ….

    Attributes:
        number: From 1 to `count`.
        count: How many parts there are.
    """

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``K/N``.

        Raises:
            KaleidoError: If it has another form, or K is not from 1 to N.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            why = f"{text!r} is not a part K/N with K from 1 to N."
            raise KaleidoError("--part", why, "Write --part 1/4, for example.", code="bad-option")
        return cls(int(match[1]), int(match[2]))

    def has(self, shard: Path) -> bool:
        """Whether a shard ``NNNNNN.tar`` is of this part."""
        return shard.stem.isdigit() and int(shard.stem) % self.count == self.number - 1

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the data."""
        return self.count == 1

    @property
    def name(self) -> str:
        """Name of its locks and journals; empty for all of the data."""
        return "" if self.is_whole else f"{self.number}-of-{self.count}"

    def __str__(self) -> str:
        """Return ``K/N``."""
        return f"{self.number}/{self.count}"


WHOLE = Part()


def latents_journal(workspace: Workspace, kind: str, part: Part = WHOLE) -> Journal:
    """Open the journal of a part of a kind's shards; the caller holds its lock."""
    return Journal(
        workspace.latents(kind),
        workspace.latents_journal(kind, part.name),
        workspace.latents_journals(kind),
        lambda path: part.is_whole or part.has(path),
    )
