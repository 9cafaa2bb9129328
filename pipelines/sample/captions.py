"""The captions that are drawn where none is given."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.workspace.shards import records_of
from pipelines.workspace.workspace import Workspace


def captions_to_draw(
    workspace: Workspace, captions: Sequence[str] | None, progress: Progress = SILENT
) -> list[str]:
    """Return the captions, or if None some held-out ones of the workspace's data.

    Raises:
        InputMissing: If no caption is given and the workspace has none.
        KaleidoError: If a caption is empty.
    """
    asked = list(captions) if captions is not None else _some_captions(workspace, progress)
    if any(not caption.strip() for caption in asked):
        raise KaleidoError("caption", "it is empty.", "Write what the picture should show.")
    return asked


def heldout_captions(workspace: Workspace, count: int = 16) -> list[str]:
    """Return the first distinct captions of the held-out split, in data order.

    Raises:
        InputMissing: If there are none.
    """
    found = _first_captions(workspace, "heldout", count)
    if not found:
        raise InputMissing(
            "captions",
            "none is given, and the workspace has no held-out records.",
            'Give one: `kaleido sample "two circles and a star"`.',
        )
    return found


def _some_captions(workspace: Workspace, progress: Progress) -> list[str]:
    """Return held-out captions, or those of training records if a small data set has none."""
    if _first_captions(workspace, "heldout", 1) or not (
        seen := _first_captions(workspace, "train", 16)
    ):
        found = heldout_captions(workspace)
        progress.message(f"No caption is given: drawing {len(found)} held-out captions.")
        return found
    progress.message(
        f"No caption is given, and no record is held out: drawing {len(seen)} captions that were "
        "trained on."
    )
    return seen


def _first_captions(workspace: Workspace, split: str, count: int) -> list[str]:
    captions: dict[str, None] = {}
    for record in records_of(workspace.data_shards()):
        if record.split == split:
            captions[record.caption] = None
        if len(captions) == count:
            break
    return list(captions)
