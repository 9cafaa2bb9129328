from __future__ import annotations

import os

import pytest

from pipelines.core.files import sha256_file
from pipelines.workspace import digests as module
from pipelines.workspace.digests import Digests


@pytest.fixture
def shard(workspace, write_data, records):
    """Return a data shard that was written an hour ago."""
    write_data(records, 10)
    (path,) = workspace.data_shards()
    os.utime(path, ns=(10**18, 10**18))
    return path


def change_unnoticed(path):
    """Change a byte; keep size and time."""
    state = path.stat()
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def test_an_unchanged_shard_is_read_once(workspace, shard, monkeypatch):
    first = Digests(workspace)
    assert first.of(shard) == sha256_file(shard)
    first.save()
    monkeypatch.setattr(module, "sha256_file", lambda path: pytest.fail("it was read again"))
    assert Digests(workspace).of(shard) == sha256_file(shard)


def test_a_changed_shard_is_read_again(workspace, shard):
    first = Digests(workspace)
    before = first.of(shard)
    first.save()
    change_unnoticed(shard)
    assert Digests(workspace).of(shard) == before
    assert Digests(workspace, verify=True).of(shard) == sha256_file(shard) != before
    os.utime(shard, ns=(10**18, 10**18 + 1))
    assert Digests(workspace).of(shard) == sha256_file(shard)


def test_a_shard_that_has_just_been_written_is_not_remembered(workspace, shard):
    os.utime(shard)
    first = Digests(workspace)
    first.of(shard)
    first.save()
    change_unnoticed(shard)
    assert Digests(workspace).of(shard) == sha256_file(shard)


def test_runs_keep_what_others_remember(workspace, write_data, records):
    write_data(records, 5)
    for shard in workspace.data_shards():
        os.utime(shard, ns=(10**18, 10**18))
        one = Digests(workspace)
        one.of(shard)
        one.save()
    assert len(module._read(workspace.root / ".locks" / "digests.json")) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b'{"a": 1}', b'{"a": ["x", 1, 2]}', b"[" * 9999])
def test_a_damaged_file_is_empty(workspace, shard, content):
    path = workspace.root / ".locks" / "digests.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert Digests(workspace).of(shard) == sha256_file(shard)
