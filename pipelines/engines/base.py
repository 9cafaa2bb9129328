"""Engine: what computes the shards of a pass, here or on other machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pipelines.core.progress import Advance
from pipelines.core.stage import StageGroup
from pipelines.engines.tasks import ShardTask
from pipelines.workspace.workspace import Workspace


class Engine(Protocol):
    """Computes shards by calling `pipelines.engines.work.ShardWorker.run` for each of them.

    An engine decides where and in which order. It knows stages and shards, not models; every engine
    writes the same bytes because all of them run the same function on whole shards.
    """

    @property
    def workers(self) -> int:
        """Most shards that it computes at once."""
        ...

    def run(
        self,
        workspace: Workspace,
        stages: Sequence[StageGroup],
        tasks: Sequence[ShardTask],
        advance: Advance,
    ) -> None:
        """Compute and write shards.

        Args:
            workspace: Where the data are and the latents go.
            stages: The stages of one pass, not set up. An engine with several processes pickles
                them.
            tasks: The shards; each has something pending.
            advance: Called with numbers of records as they are done, and perhaps a note.

        Raises:
            KaleidoError: If a stage breaks its contract or stops, an input shard is damaged, a
                worker dies, or the disk is full. Finished shards stay.
        """
        ...
