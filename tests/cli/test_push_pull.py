"""`kaleido push` and `pull` through the command line, with a folder as the store."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def url(invoke, workspace, write_data, records, tmp_path) -> str:
    """Return the address of a store that holds a workspace of five shards."""
    write_data(records, 2)
    url = f"file://{tmp_path}/store"
    sent, _ = invoke("push", url, "-w", str(workspace.root), "--json")
    assert json.loads(sent)["sent"] == 5
    return url


def test_a_new_folder_becomes_the_workspace_that_was_pushed(invoke, workspace, url, tmp_path):
    there = tmp_path / "there"
    invoke("pull", url, "-w", str(there), "--part", "2/2", "--only", "data")
    shards = sorted(path.name for path in (there / "data").glob("*.tar"))
    assert shards == ["000001.tar", "000003.tar"]
    assert json.loads(invoke("pull", url, "-w", str(there), "--json").out)["fetched"] == 3
    assert (there / "kaleido.toml").read_bytes() == (workspace.root / "kaleido.toml").read_bytes()


@pytest.mark.parametrize("arguments", [("--only", "latent"), ("--part", "3/2")])
def test_bad_options_are_named(invoke, url, tmp_path, arguments):
    failed = invoke("pull", url, "-w", str(tmp_path / "there"), *arguments, code=1)
    assert arguments[0] in failed.err
