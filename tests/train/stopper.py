"""A listener that interrupts a training."""

from __future__ import annotations

from contextlib import contextmanager

from pipelines.core.progress import Progress


class Stopper(Progress):
    """Presses Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @contextmanager
    def task(self, description, total, unit="it", done=0):
        yield self.advance

    def advance(self, n: int = 1, note: str = "") -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= n
