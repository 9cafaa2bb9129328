"""Read data and latents together, joined by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.record import Record
from pipelines.latents.base import Stored
from pipelines.latents.registry import CACHES, extract_command, is_kind, stored_class
from pipelines.latents.sequence import order_kinds
from pipelines.workspace.manifest import Manifest, read_manifest
from pipelines.workspace.shards import read_records, read_shard
from pipelines.workspace.workspace import LAYOUTS, Workspace


def read_joined(
    workspace: Workspace, data_shard: Path, kinds: Sequence[str] = ()
) -> Iterator[Record]:
    """Read a data shard's records with their latents.

    Latent shards contain a subset of the data shard's keys in the same order, so merging them keeps
    one row of each kind in memory.

    Args:
        workspace: The workspace of the latents.
        data_shard: One of `Workspace.data_shards`.
        kinds: Kinds to join; `LAYOUTS` joins annotations, as bytes. A record that lacks a kind has
            no such entry in ``latents``.

    Yields:
        Every record of the data shard, in order.

    Raises:
        InputMissing: If a kind was not extracted from this shard, or from older data.
        KaleidoError: If a shard is damaged, or has latents of records that are not in the data.
    """
    for kind in kinds:
        latent_manifest(workspace, data_shard, kind)
    readers = {kind: _Latents(workspace, data_shard, kind) for kind in kinds}
    for record in read_records(data_shard):
        found = {kind: reader.take(record.key) for kind, reader in readers.items()}
        latents = {kind: latent for kind, latent in found.items() if latent is not None}
        yield replace(record, latents=latents)
    for reader in readers.values():
        reader.finish()


def latent_manifest(workspace: Workspace, data_shard: Path, kind: str) -> Manifest:
    """Return the manifest of the latents of a data shard.

    Raises:
        InputMissing: If there are none, or the data have changed; names the command to run.
    """
    path = workspace.latents(kind) / data_shard.name
    manifest, data = read_manifest(path), read_manifest(data_shard)
    command = f"Run `{input_command(kind)}`."
    if manifest is None:
        raise InputMissing(str(path), f"the {kind} of this shard are not extracted.", command)
    if data is None or manifest.inputs.get("data") != data.sha256:
        raise InputMissing(str(path), f"the data changed after the {kind} were extracted.", command)
    return manifest


def extracted_kinds(workspace: Workspace, shards: Sequence[Path]) -> tuple[str, ...]:
    """Return the kinds that are extracted from every one of these data shards, in order."""
    folders = [path.name for path in (workspace.root / "latents").glob("*") if path.is_dir()]
    return tuple(
        kind
        for kind in order_kinds(filter(is_kind, folders))
        if all(read_manifest(workspace.latents(kind) / path.name) for path in shards)
    )


def token_makers(shards: Iterable[Path]) -> set[str]:
    """Collect the visual tokenizers that wrote shards of tokens.

    Args:
        shards: Shards of ``latents/tokens``; unfinished and missing ones are skipped.

    Returns:
        The hashes of the tokenizers; "" stands for shards that name none.
    """
    made = (read_manifest(path) for path in shards)
    return {str(manifest.options.get("tokenizer", "")) for manifest in made if manifest}


class _Latents:
    """The rows of one kind's shard, taken in the order of the data."""

    def __init__(self, workspace: Workspace, data_shard: Path, kind: str) -> None:
        self._kind = kind
        self._path = workspace.latents(kind) / data_shard.name
        self._rows = read_shard(self._path)
        self._next = next(self._rows, None)

    def take(self, key: str) -> Stored | bytes | None:
        if self._next is None or self._next[0] != key:
            return None
        fields = self._next[1]
        self._next = next(self._rows, None)
        name = latent_extension(self._kind)
        if name not in fields:
            raise self._error(f"row {key!r} has no {name!r}.")
        data = fields[name]
        return data if self._kind == LAYOUTS else stored_class(self._kind).from_bytes(data)

    def finish(self) -> None:
        if self._next is not None:
            raise self._error(f"row {self._next[0]!r} is not in the data, or is out of order.")

    def _error(self, why: str) -> KaleidoError:
        hint = f"Run `{input_command(self._kind)}` again."
        return KaleidoError(str(self._path), why, hint, "bad-data")


def latent_extension(kind: str) -> str:
    """Return a latent's extension in a shard; webdataset's reader names the field so."""
    if kind in CACHES:
        return f"{kind}.{CACHES[kind].suffix}"
    return "z.json" if kind == LAYOUTS else f"{kind}.json"


def input_command(kind: str) -> str:
    """Return the command that makes an input of stages."""
    return "kaleido data annotate" if kind == LAYOUTS else extract_command(kind)
