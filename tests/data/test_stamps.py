"""Tux Paint's stamps: real cut-outs of any shape, with captions, from a Debian package."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.data.check import check_data
from pipelines.data.folder import write_folder
from pipelines.workspace.shards import read_records

PACKAGE = "tuxpaint-stamps-default"


@pytest.fixture(scope="module")
def stamps(tmp_path_factory) -> Path:
    """Return a folder of the stamps; the first line of a stamp's text is its caption."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("needs Debian's package tools")
    place = tmp_path_factory.mktemp("stamps")
    done = subprocess.run(["apt-get", "download", PACKAGE], cwd=place, capture_output=True)
    found = list(place.glob("*.deb"))
    if done.returncode or not found:
        pytest.skip(f"{PACKAGE} cannot be downloaded")
    subprocess.run(["dpkg-deb", "-x", str(found[0]), str(place / "all")], check=True)
    root = place / "pictures"
    for image in (place / "all").rglob("*.png"):
        text = image.with_suffix(".txt")
        if text.is_file() and not image.is_symlink():
            target = root / image.relative_to(place / "all" / "usr" / "share")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, target)
            words = text.read_text("utf-8", "replace").splitlines()[0]
            target.with_suffix(".txt").write_text(words, "utf-8")
    return root


@pytest.mark.network
def test_no_two_stamps_become_one_picture(workspace, stamps):
    images = list(stamps.rglob("*.png"))
    assert len(images) > 300
    summary = write_folder(workspace, stamps, workers=2)
    assert (summary.ok, summary.failed) == (len(images), 0)
    sources: dict[bytes, set[str]] = {}
    for path in workspace.data_shards():
        for record in read_records(path):
            original = (stamps / record.meta["file"]).read_bytes()
            digest = hashlib.sha256(original).hexdigest()
            sources.setdefault(record.pixels.tobytes(), set()).add(digest)
    assert [found for found in sources.values() if len(found) > 1] == []
    assert len(check_data(workspace).copies) <= 5  # of nearly 800, with their tolerance
