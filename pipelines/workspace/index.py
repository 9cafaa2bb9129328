"""Reading single members of a shard: an index of where each lies in the tar.

An index is built from the tar's headers when a shard is first needed, and kept in ``.cache/``.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.workspace.manifest import read_manifest
from pipelines.workspace.shards import damaged, open_shard, split_name
from pipelines.workspace.statistics import CACHE
from pipelines.workspace.workspace import Workspace


class ShardIndex:
    """Where the members of a shard lie.

    Args:
        workspace: Where the index is kept.
        path: The shard.

    Attributes:
        keys: Keys of the rows, in order.

    Raises:
        KaleidoError: If the shard is missing, unfinished or damaged.
    """

    def __init__(self, workspace: Workspace, path: Path) -> None:
        manifest = read_manifest(path)
        if manifest is None:
            raise damaged(path, "the shard is unfinished or missing.")
        self._path = path
        cached = workspace.root / CACHE / "index" / f"{manifest.sha256}.json"
        try:
            self._members: dict[str, dict[str, tuple[int, int]]] = json.loads(cached.read_bytes())
        except (OSError, ValueError, RecursionError):
            self._members = _build(path)
            atomic_write(cached, json.dumps(self._members, separators=(",", ":")).encode())
        if len(self._members) != manifest.counts["ok"]:
            raise damaged(path, "the tar is cut off, or not the one that its manifest names.")
        self.keys = list(self._members)

    def __contains__(self, key: str) -> bool:
        """Whether the shard has a row of this key."""
        return key in self._members

    def read(self, key: str, extensions: Sequence[str]) -> dict[str, bytes]:
        """Read those members of a row that it has: extension to bytes.

        Raises:
            KaleidoError: If the tar is not the one that was indexed.
        """
        fields: dict[str, bytes] = {}
        try:
            with self._path.open("rb") as file:
                for extension in extensions:
                    if extension not in self._members[key]:
                        continue
                    offset, size = self._members[key][extension]
                    file.seek(offset - tarfile.BLOCKSIZE)
                    block = file.read(tarfile.BLOCKSIZE + size)
                    name = block[:100].rstrip(b"\0").decode("ascii", "replace")
                    if name != f"{key}.{extension}" or len(block) != tarfile.BLOCKSIZE + size:
                        raise damaged(self._path, f"{key}.{extension} is not where it was.")
                    fields[extension] = block[tarfile.BLOCKSIZE :]
        except OSError as error:
            raise damaged(self._path, f"the tar cannot be read ({error}).") from error
        return fields


def _build(path: Path) -> dict[str, dict[str, tuple[int, int]]]:
    members: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with open_shard(path) as tar:
            for member in tar:
                key, extension = split_name(path, member)
                members.setdefault(key, {})[extension] = (member.offset_data, member.size)
    except KaleidoError:
        raise
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise damaged(path, f"the tar cannot be read ({error}).") from error
    return members
