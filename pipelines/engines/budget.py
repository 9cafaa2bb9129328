"""The disk budget: how many bytes the latents of a workspace may take."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence

from rich.filesize import decimal

from pipelines.core.errors import KaleidoError
from pipelines.core.sizes import bytes_in, parse_bytes
from pipelines.workspace.workspace import Workspace

MEND = (
    "What is finished is kept, and the next run goes on: give a larger --disk-budget, or remove "
    "latents that are not needed."
)


def disk_left(workspace: Workspace) -> int | None:
    """Bytes that ``extract.disk_budget`` leaves beside the latents that are there.

    Returns:
        0 or more; None without a budget.

    Raises:
        KaleidoError: If the setting is no number of bytes.
    """
    text = workspace.settings.extract.disk_budget
    if not text:
        return None
    limit = parse_bytes(text, "setting 'extract.disk_budget'")
    # A file that lies elsewhere and is linked is one of the workspace's latents too.
    return max(limit - bytes_in(workspace.root / "latents", follow_links=True), 0)


def foresee(left: int, growths: Sequence[int | None]) -> str:
    """Say how far a disk budget will reach.

    Args:
        left: Bytes that it leaves.
        growths: By how much the latents of each kind are expected to grow; None if not known.
    """
    known = [growth for growth in growths if growth is not None]
    if not known:
        return f"The disk budget leaves {decimal(left)}; what is needed is not known yet."
    needed = max(sum(known), 0)
    end = " The run will stop before its end." if needed > left else ""
    return f"The disk budget leaves {decimal(left)}; about {decimal(needed)} are needed.{end}"


class DiskBudget:
    """What a run may still write, shared by its processes.

    Two runs at once do not see each other's: each knows what was there when it began.

    Args:
        left: Bytes.
    """

    def __init__(self, left: int) -> None:
        self._left = multiprocessing.get_context("spawn").Value("q", left)

    def take(self, count: int, what: str) -> None:
        """Claim bytes before they are written.

        Args:
            count: How many.
            what: What they are of, for the message.

        Raises:
            KaleidoError: If so many are not left; none is claimed then.
        """
        with self._left.get_lock():
            left = self._left.value
            if count <= left:
                self._left.value = left - count
                return
        why = f"it needs {decimal(count)}, and the disk budget leaves {decimal(left)}."
        raise KaleidoError(what, why, MEND)

    def give_back(self, count: int) -> None:
        """Return bytes of files that are gone."""
        with self._left.get_lock():
            self._left.value += count
