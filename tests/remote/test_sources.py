"""Ingest from a store that fails now and then."""

from __future__ import annotations

from pipelines.data.webdataset import write_webdataset
from pipelines.workspace.shards import record_row, write_shard
from pipelines.workspace.workspace import Workspace


def test_shards_of_a_bucket_are_read_in_spite_of_faults(faulty, workspace, tmp_path, records):
    import s3fs

    folder = tmp_path / "tars"
    for number, record in enumerate(records):
        write_shard(folder / f"{number:05d}.tar", [record_row(record)])
    files = s3fs.S3FileSystem()
    files.put(f"{folder}/", "birds/tars/", recursive=True)
    here = Workspace.init(tmp_path / "here")
    write_webdataset(here, folder)
    faulty.every, faulty.slow, faulty.cut = 7, 5, 3
    summary = write_webdataset(workspace, "s3://birds/tars/{00000..00009}.tar")
    assert (summary.ok, summary.failed) == (10, 0)
    assert faulty.refused >= 3
    for path in here.data.glob("*.tar"):
        assert (workspace.data / path.name).read_bytes() == path.read_bytes()
    assert write_webdataset(workspace, "s3://birds/tars/{00000..00009}.tar").skipped == 10
