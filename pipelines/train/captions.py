"""Captions of a training: encoded in the step, or read as states that were computed once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.utils.rnn import pad_sequence

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Progress
from pipelines.models.caption_encoder import drop_encoder, encoder_options
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.train.stream import RecordStream
from pipelines.workspace.manifest import Manifest, read_manifest
from pipelines.workspace.workspace import CAPTION_STATES, Workspace


def use_stored_states(
    workspace: Workspace, stream: RecordStream, prior: Prior, progress: Progress
) -> bool:
    """Let a stream read the states of captions, if all of its shards have those of this encoder.

    Args:
        workspace: Where they are.
        stream: Its batches are told to read them.
        prior: Whose encoder does not change in this training.
        progress: Told what is used, or why not.

    Returns:
        Whether they are read, so that the encoder is not needed.
    """
    stored = are_stored(workspace, prior)
    if stored is None:
        return False
    stream.has_states = stored
    progress.message(
        "The states of captions are read, not computed."
        if stream.has_states
        else "The stored states of captions are not used: they are of other data or another "
        "encoder. `kaleido extract caption-states` computes those of this one."
    )
    return stream.has_states


def are_stored(workspace: Workspace, prior: Prior) -> bool | None:
    """Whether all shards have the states of captions of a prior's encoder; None if none has any."""
    wanted = encoder_options(prior.encoder or prior.identity, prior.max_caption_tokens)
    return all_stored(workspace, CAPTION_STATES, wanted)


def all_stored(workspace: Workspace, kind: str, wanted: dict[str, object]) -> bool | None:
    """Whether all shards have states of captions of some kind.

    Args:
        workspace: Where they are.
        kind: ``caption-states`` or ``base-states``.
        wanted: What they must have been made with.

    Returns:
        Whether every record of all shards has them; None if no shard has any.
    """
    shards = workspace.data_shards()
    made = [read_manifest(workspace.latents(kind) / path.name) for path in shards]
    if not any(made):
        return None
    return all(_serves(found, at, wanted) for at, found in zip(shards, made, strict=True))


def without_encoder(
    workspace: Workspace, stream: RecordStream, prior: Prior, pretrained: str, progress: Progress
) -> bool:
    """Free a frozen encoder if the states of all captions are stored.

    Args:
        workspace: As for `use_stored_states`.
        stream: As for `use_stored_states`.
        prior: A new one.
        pretrained: Hash of the pretrained model; empty if there is none.
        progress: As for `use_stored_states`.

    Returns:
        Whether it was freed, so that `restore_encoder` is due before the prior is saved.
    """
    if not prior.encoder_frozen:
        return False
    prior.encoder = prior.encoder or pretrained
    if not use_stored_states(workspace, stream, prior, progress):
        return False
    drop_encoder(prior)
    return True


def _serves(found: Manifest | None, shard: Path, wanted: dict[str, object]) -> bool:
    data = read_manifest(shard)
    if found is None or data is None or found.inputs.get("data") != data.sha256:
        return False
    same = all(found.options.get(name) == value for name, value in wanted.items())
    return same and found.counts["ok"] == data.counts["ok"]


def read_states(stream: RecordStream, start: int, mask: torch.Tensor) -> torch.Tensor | None:
    """Read the states of captions, if the stream has them.

    Args:
        stream: The records.
        start: Position of the first one.
        mask: Of the captions' tokens, bool (n, length).

    Returns:
        (n, length, width), 0 where there is no token; None if they are to be computed.
    """
    if not stream.has_states:
        return None
    rows = [stream.caption_states(start + row) for row in range(len(mask))]
    for row, (values, count) in enumerate(zip(rows, mask.sum(-1).tolist(), strict=True)):
        if len(values) != count:
            raise KaleidoError(
                f"caption-states of {stream.keys(start + row, 1)[0]}",
                f"they are of {len(values)} tokens, where its caption has {count}.",
                "Run `kaleido extract caption-states --verify`.",
                code="bad-data",
            )
    return pad_sequence([torch.from_numpy(values.copy()) for values in rows], batch_first=True)


def caption_states(
    prior: Prior, ids: torch.Tensor, mask: torch.Tensor, states: torch.Tensor | None
) -> States:
    """Return the states of captions that were read, or encode the captions."""
    return prior.encode_ids(ids, mask) if states is None else States(states, mask)
