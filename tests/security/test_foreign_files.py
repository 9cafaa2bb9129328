"""No command changes a file that Kaleido did not write, `--overwrite` and `clean --yes` included.

`tests/data/test_foreign_files.py` covers the sources of data, `tests/workspace/test_clean.py` the
places that only `clean` looks into.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.files import temporary_path
from pipelines.data.annotate import annotate
from pipelines.data.folder import write_folder
from pipelines.documents.dialects.base import Context
from pipelines.engines import work
from pipelines.extract.run import extract
from pipelines.train.prior import train_prior
from pipelines.workspace.clean import clean
from pipelines.workspace.parts import Part
from pipelines.workspace.workspace import Workspace

FOREIGN = (
    "prior.20240101.old", "x.tmp", "000000.tar.99.tmp", "checkpoint.old", "checkpoint.tmp",
    "notes.json", "mine.npz", "model.safetensors.bak", "thesis.tar", ".hidden", "a b.png",
)  # fmt: skip
FOLDERS = (
    ".", "data", "latents", "latents/palette", "latents/mine", "models", "models/prior",
    "models/mine", "logs", "logs/prior", "logs/prior/checkpoint", "samples", "reports", "downloads",
)  # fmt: skip


def plant(workspace: Workspace, outside: Path) -> None:
    for folder in FOLDERS:
        place = workspace.root / folder
        place.mkdir(parents=True, exist_ok=True)
        for name in FOREIGN:
            (place / name).write_text(f"mine {folder} {name}")
        (place / "away").symlink_to(outside)
        temporary_path(place / "linked", "old").symlink_to(outside)


def foreign(workspace: Workspace, outside: Path) -> dict[Path, bytes | str]:
    """The contents of all foreign files, and the targets of links."""
    found: dict[Path, bytes | str] = {}
    for path in sorted((*workspace.root.rglob("*"), *outside.rglob("*"))):
        if path.is_symlink():
            found[path] = os.readlink(path)
        elif path.is_file() and (path.name in FOREIGN or outside in path.parents):
            found[path] = path.read_bytes()
    return found


@pytest.fixture
def tiny(workspace: Workspace) -> Workspace:
    prior = replace(
        workspace.settings.prior, z_kinds=("palette",), d_model=16, d_ff=16, layers=1, heads=1,
        vocab_size=1500, steps=2, batch_size=2, warmup=0, dropout_steps=0,
    )  # fmt: skip
    return replace(workspace, settings=replace(workspace.settings, prior=prior))


def test_a_whole_run_and_its_repetition_touch_no_foreign_file(tiny, tmp_path):
    pictures, outside = tmp_path / "pictures", tmp_path / "outside"
    pictures.mkdir()
    outside.mkdir()
    (outside / "photo.png").write_text("mine")
    for index in range(4):
        Image.new("RGB", (16, 16), (60 * index, 9, 9)).save(pictures / f"{index}.png")
        (pictures / f"{index}.txt").write_text("a plain colour")
    write_folder(tiny, pictures)
    extract(tiny, ("palette",))
    train_prior(tiny)
    plant(tiny, outside)
    before = foreign(tiny, outside)
    assert len(before) == len(FOLDERS) * (len(FOREIGN) + 2) + 1
    (pictures / "0.txt").write_text("another caption")
    write_folder(tiny, pictures, overwrite=True)
    extract(tiny, ("palette",))
    train_prior(tiny, restart=True)
    clean(tiny, remove=True)
    assert foreign(tiny, outside) == before
    (pictures / "0.txt").write_text("a third caption")
    write_folder(tiny, pictures, overwrite=True, shard_size=1)
    extract(tiny, ("palette",))
    clean(tiny, remove=True)
    assert foreign(tiny, outside) == before


SHARD = {"tar": b"my backup", "parquet": b"my table", "json": b'{"mine": 1}'}


@pytest.mark.parametrize("suffix", SHARD)
@pytest.mark.parametrize("part", ["1/1", "1/2"])
def test_extraction_replaces_no_file_that_is_not_its_own(tiny, write_data, records, suffix, part):
    write_data(records, 5)
    mine = tiny.latents("palette") / f"000000.{suffix}"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(SHARD[suffix])
    for retry in (False, True):
        with pytest.raises(KaleidoError) as caught:
            extract(tiny, ("palette",), retry_failed=retry, part=Part.parse(part))
        assert caught.value.code == "would-overwrite"
        assert list(mine.parent.iterdir()) == [mine]
        assert mine.read_bytes() == SHARD[suffix]


def test_annotations_replace_no_file_that_is_not_ours(tiny, write_data, records, tmp_path):
    write_data(records, 5)
    mine = tiny.root / "layouts" / "000001.tar"
    mine.parent.mkdir()
    mine.write_bytes(b"my backup")
    (tmp_path / "r001.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(KaleidoError) as caught:
        annotate(tiny, [tmp_path / "r001.txt"], "yolo", Context(width=16, height=16))
    assert caught.value.code == "would-overwrite"
    assert [path.read_bytes() for path in mine.parent.iterdir()] == [b"my backup"]


@pytest.mark.parametrize(("killed", "again"), [("1/2", "1/2"), ("1/2", "1/1"), ("1/1", "2/2")])
def test_what_a_killed_extraction_left_is_replaced(
    tiny, write_data, records, monkeypatch, killed, again
):
    """A kill between tar and manifest leaves a tar that no manifest names."""
    write_data(records, 5)
    extract(tiny, ("palette",))
    folder = tiny.latents("palette")
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in folder.iterdir():
        path.unlink()

    def kill(*arguments):
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(work, "write_manifest", kill)
        with pytest.raises(SystemExit):
            extract(tiny, ("palette",), part=Part.parse(killed))
    assert [path.name for path in folder.iterdir()] == ["000000.tar"]
    extract(tiny, ("palette",), part=Part.parse(again))
    extract(tiny, ("palette",))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert list((tiny.root / ".locks").glob("*.journal")) == []


def test_training_refuses_a_folder_that_is_not_a_model_before_it_starts(tiny, tmp_path):
    """There are no data, so an error about data would mean that it was noticed too late."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("mine")
    tiny.models("prior").parent.mkdir(exist_ok=True)
    tiny.models("prior").symlink_to(home)
    with pytest.raises(KaleidoError) as caught:
        train_prior(tiny)
    assert caught.value.code == "would-overwrite"
    assert (home / "thesis.tex").read_text() == "mine"


def test_a_model_that_is_a_link_is_trained_through_it_and_clean_still_works(tiny, tmp_path):
    pictures, disk = tmp_path / "pictures", tmp_path / "disk"
    pictures.mkdir()
    for index in range(4):
        Image.new("RGB", (16, 16), (60 * index, 9, 9)).save(pictures / f"{index}.png")
        (pictures / f"{index}.txt").write_text("a plain colour")
    write_folder(tiny, pictures)
    extract(tiny, ("palette",))
    train_prior(tiny)
    tiny.models("prior").rename(disk)
    tiny.models("prior").symlink_to(disk)
    before = (disk / "kaleido.json").read_bytes()
    longer = replace(tiny.settings, prior=replace(tiny.settings.prior, steps=3))
    train_prior(replace(tiny, settings=longer))
    assert tiny.models("prior").is_symlink()
    assert (disk / "kaleido.json").read_bytes() != before
    assert clean(tiny, remove=True).leftovers == ()
    assert sorted(path.name for path in disk.parent.iterdir() if "kaleido" in path.name) == []
