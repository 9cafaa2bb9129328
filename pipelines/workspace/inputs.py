"""Whether a command's inputs exist, told without a heavy import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import InputMissing
from pipelines.workspace.source import holds_scenes
from pipelines.workspace.workspace import Workspace


def require_data(workspace: Workspace) -> list[Path]:
    """Return the data shards.

    Raises:
        InputMissing: If there are none.
    """
    if shards := workspace.data_shards():
        return shards
    raise InputMissing(
        str(workspace.data),
        "there are no pictures yet.",
        "Run `kaleido data folder PICTURES` for your own pictures, or `kaleido data scenes`.",
    )


def training_kinds(
    workspace: Workspace, asked: Sequence[str], of_prior: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the kinds of z to train on, in order.

    Args:
        workspace: Its first data shard tells what has been extracted.
        asked: The setting ``z_kinds``; empty for the kinds of the prior, or without one, all that
            have been extracted.
        of_prior: The kinds of the trained prior, for a model that depends on it.

    Raises:
        LatentError: If a kind is unknown.
        InputMissing: If there are no data, a kind is missing, or there is none; offers the kinds
            that exist.
    """
    from pipelines.latents.registry import extract_command  # all import numpy
    from pipelines.latents.sequence import order_kinds
    from pipelines.workspace.reader import extracted_kinds

    order_kinds(asked)  # an unknown kind is named first
    present = extracted_kinds(workspace, require_data(workspace)[:1])
    kinds = order_kinds(asked or of_prior or present)
    missing = [kind for kind in kinds if kind not in present]
    if kinds and not missing:
        return kinds
    if present:
        hint = (
            f"Run `{extract_command(missing[0])}`, or train on the kinds that are there: --z "
            f"{','.join(present)}."
        )
    elif holds_scenes(workspace):
        hint = "Run `kaleido extract all` first."
    else:
        hint = (
            "Run `kaleido extract palette`, which works on any pictures, and train with --z "
            "palette; for boxes name a detector that knows your pictures with --model."
        )
    raise InputMissing(
        f"latents {', '.join(missing)}".rstrip(), "they have not been extracted.", hint
    )
