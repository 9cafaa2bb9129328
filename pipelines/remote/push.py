"""`kaleido push`: copies a workspace to an object store; only what differs travels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.progress import SILENT, Progress
from pipelines.core.store import Store
from pipelines.core.threads import in_threads
from pipelines.remote.places import (
    RECEIPT,
    USUAL,
    Place,
    Receipt,
    check_places,
    contents,
    local_places,
)
from pipelines.workspace.workspace import SETTINGS_FILE, Workspace, finished_shards

SHARD_SUFFIXES = (".tar", ".parquet")
"""Files of a shard that travel before its manifest."""


@dataclass(frozen=True)
class PushSummary:
    """What was sent.

    Attributes:
        url: Where to.
        sent: Shards and folders that were sent.
        equal: Those that were there already.
        bytes: Bytes that were sent.
        extra: Shards of the store that the workspace lacks; they stay unless they are removed.
        removed: How many of them were removed.
    """

    url: str
    sent: int
    equal: int
    bytes: int
    extra: int
    removed: int


def push(
    workspace: Workspace,
    url: str,
    only: Sequence[str] = (),
    remove_extra: bool = False,
    progress: Progress = SILENT,
) -> PushSummary:
    """Send what a store lacks or has otherwise.

    Several machines may push shards of one workspace at once. A run that was stopped goes on where
    it was: whole shards and files are not sent again.

    Args:
        workspace: What to send. The store gets its settings if it has none.
        url: A folder of a store, for example ``s3://bucket/folder``.
        only: Places such as ``latents/boxes`` or ``models``; by default all but logs.
        remove_extra: Remove shards that the workspace lacks from the store.
        progress: Told of every shard and folder.

    Raises:
        KaleidoError: If the store cannot be used, a shard changes meanwhile, or what was sent is
            not there in the end.
    """
    check_places(only)
    store = Store(url)
    places = local_places(workspace, only or USUAL)
    there = store.sizes("")
    sender = _Sender(workspace, store, there)
    shards = {
        place: finished_shards(place.folder(workspace)) for place in places if place.is_sharded
    }
    tasks = [(place, shard) for place in places for shard in shards.get(place, [None])]
    if SETTINGS_FILE not in there:
        store.send(workspace.root / SETTINGS_FILE, SETTINGS_FILE)
    sent = equal = size = 0
    with progress.task("push", len(tasks), "item") as advance:
        for done in in_threads(sender.send, tasks):
            if done is None:
                equal += 1
            else:
                sent, size = sent + 1, size + done
            advance(1)
    if sender.sent:
        _require_there(store, sender.sent)
    extra = _extra(shards, there)
    if remove_extra:
        for name in extra:
            store.remove(f"{name}.json")
            for suffix in SHARD_SUFFIXES:
                store.remove(name + suffix)
    return PushSummary(url, sent, equal, size, len(extra), len(extra) if remove_extra else 0)


def _require_there(store: Store, sent: Mapping[str, int]) -> None:
    """Look whether files are there: a proxy that wants a login answers all requests with a page."""
    there = store.sizes("")
    if lost := sorted(name for name, size in sent.items() if there.get(name) != size):
        raise KaleidoError(
            f"{store.url}/{lost[0]}",
            f"it was sent, as {len(lost):,} files in all, but is not there with its size.",
            "Look whether the URL answers as a store, and whether another machine pushes otherwise "
            "data there; then push again.",
            code="store",
        )


def _extra(shards: Mapping[Place, Sequence[Path]], there: Iterable[str]) -> list[str]:
    """List the store's shards, without suffix, that the workspace lacks."""
    found = []
    for place, here in shards.items():
        mine = {f"{place.name}/{shard.stem}" for shard in here}
        theirs = {
            name.removesuffix(".json")
            for name in there
            if name.rpartition("/")[0] == place.name and name.endswith(".json")
        }
        found += sorted(theirs - mine)
    return found


class _Sender:
    def __init__(self, workspace: Workspace, store: Store, there: dict[str, int]) -> None:
        self._workspace, self._store, self._there = workspace, store, there
        self.sent: dict[str, int] = {}

    def send(self, task: tuple[Place, Path | None]) -> int | None:
        """Send a shard or a folder; return how many bytes were sent, None if it was there."""
        place, shard = task
        return self._folder(place) if shard is None else self._shard(place, shard)

    def _shard(self, place: Place, shard: Path) -> int | None:
        seal = f"{place.name}/{shard.stem}.json"
        manifest = shard.with_suffix(".json").read_bytes()
        if self._there.get(seal) == len(manifest) and self._store.read(seal) == manifest:
            return None
        if seal in self._there:  # no seal beside other contents
            self._store.remove(seal)
        size = len(manifest)
        for suffix in SHARD_SUFFIXES:
            size += self._send(shard.with_suffix(suffix), f"{place.name}/{shard.stem}{suffix}")
        try:
            unchanged = shard.with_suffix(".json").read_bytes() == manifest
        except FileNotFoundError:
            unchanged = False
        if not unchanged:
            why = "it was written again while it was sent."
            raise KaleidoError(str(shard), why, "Push again when that run has ended.", "locked")
        self._store.write(seal, manifest)
        self.sent[seal] = len(manifest)
        return size

    def _send(self, file: Path, path: str) -> int:
        """Send a file, and return its size."""
        self._store.send(file, path)
        self.sent[path] = file.stat().st_size
        return self.sent[path]

    def _folder(self, place: Place) -> int | None:
        mine = contents(place, self._workspace)
        seal = f"{place.name}/{RECEIPT}"
        try:
            theirs = Receipt.from_bytes(self._store.read(seal), f"{self._store.url}/{seal}")
        except InputMissing:
            theirs = Receipt({}, complete=False)
        if theirs == Receipt(mine, complete=True):
            return None
        there = {name: each for name, each in theirs.files.items() if mine.get(name) == each}
        size = 0
        for name in sorted(mine.keys() - there.keys()):
            # What is about to change is not in the receipt, and what has been sent is.
            self._store.write(seal, Receipt(there, complete=False).to_bytes())
            size += self._send(place.folder(self._workspace) / name, f"{place.name}/{name}")
            there[name] = mine[name]
        self._store.write(seal, Receipt(mine, complete=True).to_bytes())
        for name in sorted(theirs.files.keys() - mine.keys()):
            self._store.remove(f"{place.name}/{name}")
        return size
