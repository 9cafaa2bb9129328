"""`kaleido data`: exit status, addresses, and the flags that every source takes."""

from __future__ import annotations

import json
import tarfile

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "pictures"
    root.mkdir()
    Image.new("RGB", (12, 8), (9, 90, 200)).save(root / "a.png")
    (root / "a.txt").write_text("a blue picture")
    (tmp_path / "list.jsonl").write_text('{"file": "pictures/a.png", "caption": "a picture"}')
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name in ("a.png", "a.txt"):
            tar.add(root / name, name)
    return root


@pytest.mark.parametrize("address", ["s3://bucket/set", "https://example.org/set.tar", "gs://b"])
@pytest.mark.parametrize("command", [["folder"], ["table"], ["webdataset"], ["check", "--fix"]])
def test_an_address_is_never_taken_for_a_path(workspace, invoke, tmp_path, command, address):
    before = sorted(tmp_path.rglob("*"))
    said = invoke("data", *command, address, "--workspace", str(workspace.root), code=1)
    assert address.partition(":")[0] in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_every_source_takes_fit_size_and_workers(workspace, invoke, folder):
    above = folder.parent
    for command, path in (
        ("folder", folder),
        ("table", above / "list.jsonl"),
        ("webdataset", above / "set.tar"),
    ):
        said = invoke(
            *("data", command, str(path), "--fit", "crop", "--size", "16", "--workers", "1"),
            *("--overwrite", "--json", "--workspace", str(workspace.root)),
        )
        found = json.loads(said.out)
        assert (found["ok"], found["fit"]["reshaped"]) == (1, 1)
        assert found["fit"]["share"] == pytest.approx(1 / 3)
        assert "33%" in said.err


def test_a_run_without_a_record_ends_with_status_3(workspace, invoke, folder):
    (folder / "a.png").write_bytes(b"no picture")
    said = invoke(
        "data", "folder", str(folder), "--json", "--workspace", str(workspace.root), code=3
    )
    assert json.loads(said.out)["failed"] == 1
    assert "not a picture" in said.err


def test_a_source_that_broke_replaces_nothing_unasked(workspace, invoke, folder):
    where = ("--workspace", str(workspace.root))
    invoke("data", "folder", str(folder), *where)
    before = {path.name: path.read_bytes() for path in workspace.data.iterdir()}
    (folder / "a.png").write_bytes(b"")
    said = invoke("data", "folder", str(folder), *where, code=1)
    assert "--overwrite" in said.err
    assert {path.name: path.read_bytes() for path in workspace.data.iterdir()} == before
    invoke("data", "folder", str(folder), "--overwrite", *where, code=3)
