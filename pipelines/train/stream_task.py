"""A task whose examples are records of a workspace."""

from __future__ import annotations

from copy import copy
from typing import Self

from pipelines.train.stream import RecordStream
from pipelines.train.task import Task


class StreamTask(Task):
    """A task that reads a stream of records.

    Args:
        stream: The training records.
    """

    def __init__(self, stream: RecordStream) -> None:
        self._stream = stream

    def held_out(self) -> tuple[Self, int]:
        """Return the task on held-out records, and their number."""
        view, stream = copy(self), self._stream.held_out_view()
        view._stream = stream
        return view, stream.size

    def keys(self, start: int, count: int) -> list[str]:
        """Return the keys of `count` records of the stream from `start` on."""
        return self._stream.keys(start, count)
