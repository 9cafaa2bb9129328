"""How long work reports itself, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[..., None]
"""``advance(n=1, note="")``: n more units are done; the note, say a loss, replaces the last."""


class Progress:
    """A silent listener, for library use and tests. The console's subclass draws bars or lines."""

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """Open a task of `total` units, of which `done` were finished by an earlier run."""
        yield lambda n=1, note="": None

    def message(self, text: str) -> None:
        """Tell the user one line. It goes to stderr, never to stdout."""


SILENT = Progress()
