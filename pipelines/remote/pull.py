"""`kaleido pull`: copies a workspace from an object store; only what differs travels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write, replacing, replacing_folder, sha256_file
from pipelines.core.progress import SILENT, Progress
from pipelines.core.store import Store
from pipelines.core.threads import in_threads
from pipelines.remote.places import (
    RECEIPT,
    USUAL,
    Content,
    Place,
    Receipt,
    check_places,
    contents,
    remote_places,
)
from pipelines.workspace.journal import Journal
from pipelines.workspace.manifest import count_outcomes, read_manifest, read_rows
from pipelines.workspace.parts import WHOLE, Part, latents_journal
from pipelines.workspace.workspace import SETTINGS_FILE, SHARD_NAME, Workspace

TRIES = 3
"""How often a file is fetched whose bytes are not those that its seal names."""


@dataclass(frozen=True)
class PullSummary:
    """What was fetched.

    Attributes:
        url: Where from.
        fetched: Shards and folders that were fetched.
        equal: Those that were there already.
        bytes: Bytes that were fetched.
        unfinished: Folders of the store that are still being pushed, or whose push was stopped;
            they were left out.
    """

    url: str
    fetched: int
    equal: int
    bytes: int
    unfinished: list[str]


def open_or_make(path: Path, url: str) -> Workspace:
    """Return the workspace at a path; a new one gets the settings of the store.

    Raises:
        InputMissing: If the store holds no workspace.
        KaleidoError: If its settings are not valid.
    """
    if not (path / SETTINGS_FILE).is_file():
        atomic_write(path / SETTINGS_FILE, Store(url).read(SETTINGS_FILE))
    return Workspace.find(explicit=path)


def pull(
    workspace: Workspace,
    url: str,
    only: Sequence[str] = (),
    part: Part = WHOLE,
    progress: Progress = SILENT,
) -> PullSummary:
    """Fetch what a workspace lacks or has otherwise. Its settings stay as they are.

    What is whole is not fetched again, so a run that was stopped goes on where it was. Every file
    is compared with the SHA-256 that was stored with it.

    Args:
        workspace: Where to. What the store lacks stays.
        url: A folder of a store to which a workspace was pushed.
        only: Places such as ``latents/boxes`` or ``models``; by default all but logs.
        part: Of the shards, for machines that extract a part each.
        progress: Told of every shard and folder.

    Raises:
        InputMissing: If the store holds no workspace.
        KaleidoError: If the store cannot be used, its files are damaged, another process writes
            here, or a file of the user's is in the way.
    """
    check_places(only)
    store = Store(url)
    there = store.sizes("")
    if SETTINGS_FILE not in there:
        why = f"there is no {SETTINGS_FILE}, so it holds no workspace."
        raise InputMissing(url, why, "Check the URL, or `kaleido push` a workspace to it.")
    fetched = equal = size = 0
    unfinished = []
    for place in remote_places(there, only or USUAL):
        if place.is_sharded:
            shards = _Shards(workspace, store, place, part, there)
            done, whole, count = shards.fetch(progress)
            fetched, equal, size = fetched + done, equal + whole, size + count
        elif (received := _fetch_folder(workspace, store, place)) is None:
            unfinished.append(place.name)
        else:
            fetched, equal, size = (
                fetched + (received > 0),
                equal + (received == 0),
                size + received,
            )
    return PullSummary(url, fetched, equal, size, unfinished)


class _Shards:
    """The shards of one folder."""

    def __init__(
        self,
        workspace: Workspace,
        store: Store,
        place: Place,
        part: Part,
        there: Mapping[str, int],
    ) -> None:
        self._workspace, self._store, self._place, self._part = workspace, store, place, part
        self._there = there
        self._folder = place.folder(workspace)

    def fetch(self, progress: Progress) -> tuple[int, int, int]:
        """Fetch what differs; return how many were fetched, how many were equal, and bytes."""
        names = [name for name in self._there if self._is_seal(name)]
        manifests = dict(in_threads(lambda name: (name, self._store.read(name)), names))
        due = {name: data for name, data in sorted(manifests.items()) if not self._has(name, data)}
        size = 0
        with self._lock():
            journal = self._journal()
            journal.begin(map(self._shard, due))
            with progress.task(f"pull {self._place.name}", len(due), "shard") as advance:
                for done in in_threads(self._fetch, list(due.items())):
                    size += done
                    advance(1)
            journal.end(*map(self._shard, names))  # also those that a stopped run has fetched
        return len(due), len(names) - len(due), size

    def _is_seal(self, name: str) -> bool:
        folder, _, file = name.rpartition("/")
        shard = Path(file).with_suffix(".tar")
        is_ours = file.endswith(".json") and SHARD_NAME.fullmatch(shard.name) is not None
        return folder == self._place.name and is_ours and self._part.has(shard)

    def _shard(self, seal: str) -> Path:
        return self._folder / Path(seal).with_suffix(".tar").name

    def _has(self, seal: str, manifest: bytes) -> bool:
        shard = self._shard(seal)
        try:
            is_equal = shard.with_suffix(".json").read_bytes() == manifest
        except FileNotFoundError:
            return False
        return is_equal and shard.is_file() and shard.with_suffix(".parquet").is_file()

    def _lock(self) -> AbstractContextManager[None]:
        whole = self._place.name == "data"
        return self._workspace.lock(self._place.name, "" if whole else self._part.name)

    def _journal(self) -> Journal:
        if self._place.name == "data":
            return Journal(self._folder, self._workspace.data_journal)
        return latents_journal(self._workspace, self._place.kind, self._part)

    def _fetch(self, sealed: tuple[str, bytes]) -> int:
        """Fetch a shard: the old manifest goes first, and the new one comes last."""
        seal, data = sealed
        shard, what = self._shard(seal), f"{self._store.url}/{seal}"
        digest = _tar_digest(data, what)
        with replacing(shard) as tar:
            _fetch_file(self._store, seal.removesuffix("json") + "tar", tar, digest)
            size = tar.stat().st_size
            shard.with_suffix(".json").unlink(missing_ok=True)
        with replacing(shard.with_suffix(".parquet")) as rows:
            name = seal.removesuffix("json") + "parquet"
            self._store.fetch(name, rows, self._there.get(name, 0))
            size += rows.stat().st_size
        atomic_write(shard.with_suffix(".json"), data)
        manifest = read_manifest(shard)
        if manifest is None or count_outcomes(read_rows(shard)) != dict(manifest.counts):
            shard.with_suffix(".json").unlink()
            raise _damaged(what, "its rows are not those that its manifest counts.")
        return size + len(data)


def _tar_digest(manifest: bytes, what: str) -> str:
    try:
        return str(json.loads(manifest)["sha256"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(what, "it is not a manifest of Kaleido.") from error


def _fetch_folder(workspace: Workspace, store: Store, place: Place) -> int | None:
    """Fetch a folder; return how many bytes were fetched, None if its push has not ended."""
    seal = f"{place.name}/{RECEIPT}"
    try:
        receipt = Receipt.from_bytes(store.read(seal), f"{store.url}/{seal}")
    except InputMissing:
        return None
    if not receipt.complete:
        return None
    folder = place.folder(workspace)
    mine = contents(place, workspace) if folder.is_dir() else {}
    if mine == receipt.files:
        return 0
    due = {name: each for name, each in receipt.files.items() if mine.get(name) != each}

    def fetch(item: tuple[str, Content]) -> int:
        name, content = item
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        _fetch_file(store, f"{place.name}/{name}", fresh / name, content.sha256)
        return content.bytes

    with workspace.lock(place.name), replacing_folder(folder) as fresh:
        for name in receipt.files.keys() - due.keys():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(folder / name, fresh / name)
        return sum(in_threads(fetch, list(due.items())))


def _fetch_file(store: Store, path: str, file: Path, digest: str) -> None:
    """Fetch a file, again if its bytes are not the right ones: a connection may have been cut."""
    for _ in range(TRIES):
        store.fetch(path, file)
        if sha256_file(file) == digest:
            return
    raise _damaged(f"{store.url}/{path}", "its bytes are not those that its manifest names.")


def _damaged(what: str, why: str) -> KaleidoError:
    hint = "Push it again from where it is whole."
    return KaleidoError(what, why, hint, code="bad-data")
