"""What a folder holds: links, names of other systems, tables, and what is passed over."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.inputs import LFS_POINTER
from pipelines.data.folder import write_folder
from pipelines.data.scan import scan_folder
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.shards import read_records
from tests.conftest import Told


def add(path: Path, caption: str | None = None, kind: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode())
    Image.new("RGB", (8, 8), (seed % 250, 90, 60)).save(path, kind)
    if caption is not None:
        path.with_suffix(".txt").write_text(caption)
    return path


@pytest.fixture
def root(tmp_path) -> Path:
    folder = tmp_path / "pictures"
    add(folder / "plain.png", "a plain picture")
    return folder


def read(workspace, root):
    """Write the folder; return captions by file, reasons by key, and what was said."""
    told = Told()
    write_folder(workspace, root, progress=told, overwrite=True)
    shards = workspace.data_shards()
    captions: dict[str, list[str]] = {}
    for path in shards:
        for record in read_records(path):
            captions.setdefault(record.meta["file"], []).append(record.caption)
    rows = [row for path in shards for row in read_rows(path)]
    failed = {row.key: row.reason for row in rows if row.outcome == "failed"}
    return captions, failed, "\n".join(told.said)


def test_linked_folders_are_entered_once(workspace, root, tmp_path):
    add(tmp_path / "elsewhere" / "far.png", "a far picture")
    add(root / "inside" / "near.png", "a near picture")
    (root / "a-link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "again").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "a-loop").symlink_to(root, target_is_directory=True)
    (root / "an-alias").symlink_to(root / "inside", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(root, target_is_directory=True)
    (root / "own").symlink_to(workspace.root, target_is_directory=True)
    captions, failed, said = read(workspace, root)
    assert set(captions) == {"plain.png", "inside/near.png", "a-link/far.png"}
    assert failed == {}
    assert "5 links to folders" in said


def test_what_is_passed_over_is_named_with_the_reason(workspace, root):
    for name in ("notes.pdf", "film.mp4", "a.PDF", "Makefile", ".hidden.png"):
        (root / name).write_bytes(b"nothing")
    (root / ".git").mkdir()
    add(root / "both.png", "from the text")
    (root / "both.caption").write_text("from the caption file")
    captions, failed, said = read(workspace, root)
    assert failed == {}
    assert captions["both.png"] == ["from the text"]
    for part in ("2 hidden", "2 files that are no pictures, .pdf", "1 files", ".mp4", "Makefile"):
        assert part in said
    assert "both.caption" in said


def test_pictures_are_told_by_their_content(workspace, root):
    for name, kind in (("a.jfif", "JPEG"), ("b.unknown", "PNG"), ("c", "WEBP"), ("d.pdf", "AVIF")):
        add(root / name, f"picture {name}", kind)
    (root / "text.png").write_text("this is no picture")
    (root / "text.txt").write_text("a caption")
    captions, failed, _ = read(workspace, root)
    assert set(captions) == {"plain.png", "a.jfif", "b.unknown", "c", "d.pdf"}
    assert "not a picture" in failed["text"]


def test_heic_is_named_as_what_cannot_be_read(workspace, root):
    (root / "photo.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (root / "photo.txt").write_text("a photo")
    _, failed, _ = read(workspace, root)
    assert ".HEIC is not read" in failed["photo"]


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
def test_names_match_in_every_normal_form(workspace, root, on_disk, in_table):
    name = "sub/Äpfel é.png"
    add(root / unicodedata.normalize(on_disk, name))
    values = {"file": unicodedata.normalize(in_table, name), "caption": "apples"}
    (root / "captions.jsonl").write_text(json.dumps(values))
    captions, failed, _ = read(workspace, root)
    assert ["apples"] in captions.values()
    assert failed == {}


def test_text_files_match_in_every_normal_form(workspace, root):
    add(root / unicodedata.normalize("NFC", "é.png"))
    (root / unicodedata.normalize("NFD", "é.txt")).write_text("an accent")
    captions, failed, _ = read(workspace, root)
    assert ["an accent"] in captions.values()
    assert failed == {}


def test_names_with_backslashes_and_absolute_names_inside(workspace, root):
    add(root / "sub" / "a.png")
    add(root / "sub" / "b.png")
    add(root / "c.png")
    rows = [("sub\\a.png", "one"), (str(root / "sub" / "b.png"), "two"), ("./sub/../c.png", "3 c")]
    outside = [("/etc/hostname", "x"), ("..\\..\\x.png", "x"), ("C:\\x.png", "x")]
    lines = [json.dumps({"file": name, "caption": text}) for name, text in rows + outside]
    (root / "captions.jsonl").write_text("\n".join(lines))
    captions, failed, _ = read(workspace, root)
    assert captions["sub/a.png"] == ["one"]
    assert captions["sub/b.png"] == ["two"]
    assert captions["c.png"] == ["3 c"]
    assert len(failed) == 3
    assert all("outside" in reason for reason in failed.values())


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_metadata_of_imagefolder_in_each_folder(workspace, root, name):
    for folder in ("train", "test"):
        add(root / folder / "0.png")
        text = f"picture of {folder}"
        if name.endswith("csv"):
            (root / folder / name).write_text(f"file_name,text\n0.png,{text}\n")
        else:
            (root / folder / name).write_text(json.dumps({"file_name": "0.png", "text": text}))
    captions, failed, _ = read(workspace, root)
    assert captions["train/0.png"] == ["picture of train"]
    assert captions["test/0.png"] == ["picture of test"]
    assert failed == {}


def test_a_list_of_captions_gives_a_record_for_each(workspace, root):
    add(root / "a.png")
    (root / "captions.jsonl").write_text(json.dumps({"file": "a.png", "caption": ["one", "two"]}))
    captions, _, _ = read(workspace, root)
    assert captions["a.png"] == ["one", "two"]


def test_caption_files_and_utf16(workspace, root):
    add(root / "a.png")
    (root / "a.caption").write_text("from kohya")
    add(root / "b.png")
    (root / "b.txt").write_bytes("UTF-16 é".encode("utf-16"))
    captions, _, _ = read(workspace, root)
    assert (captions["a.png"], captions["b.png"]) == (["from kohya"], ["UTF-16 é"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_devices_do_not_hang(workspace, root):
    os.mkfifo(root / "captions.jsonl")
    os.mkfifo(root / "metadata.csv.png")
    os.mkfifo(root / "pipe")
    (root / "zero").symlink_to("/dev/zero")
    captions, _, said = read(workspace, root)
    assert set(captions) == {"plain.png"}
    assert "pipe" in said


def test_an_unreadable_folder_is_named(root, monkeypatch):
    closed = root / "closed"
    closed.mkdir()
    listdir = os.listdir

    def deny(path):
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", deny)
    lines = scan_folder(root, root / "nowhere").passed_lines()
    assert lines == ["passed over: 1 folders that cannot be read: Permission denied (closed)"]


def test_two_tables_in_one_folder_are_an_error(workspace, root):
    (root / "captions.csv").write_text("file,caption\n")
    (root / "metadata.csv").write_text("file_name,text\n")
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, root)
    assert caught.value.code == "bad-data"


def test_absolute_names_through_links_and_names_that_leave_and_return(workspace, root, tmp_path):
    for name in ("a", "b", "c"):
        add(root / "sub" / f"{name}.png")
    link = tmp_path / "link"
    link.symlink_to(root, target_is_directory=True)
    rows = [
        (str(link / "sub" / "a.png"), "one"),
        (f"{root}/../{root.name}/sub/b.png", "two"),
        (f"../{root.name}/sub/c.png", "three"),
    ]
    lines = [json.dumps({"file": name, "caption": text}) for name, text in rows]
    (root / "captions.jsonl").write_text("\n".join(lines))
    captions, failed, _ = read(workspace, root)
    assert not failed
    assert [captions[f"sub/{name}.png"] for name in "abc"] == [["one"], ["two"], ["three"]]


def test_names_that_no_system_can_have_fail_alone(workspace, root):
    names = ["x" * 300 + ".png", "/".join(["d" * 200] * 30), "nul\0.png", "iVBORw0" * 900]
    lines = [json.dumps({"file": name, "caption": "words"}) for name in names]
    (root / "captions.jsonl").write_text("\n".join(lines))
    captions, failed, _ = read(workspace, root)
    assert list(captions) == ["plain.png"]
    assert len(failed) == len(names)
    assert max(map(len, failed.values())) < 300


def test_captions_that_git_lfs_has_not_fetched_and_cut_utf16_are_called_that(workspace, root):
    add(root / "a.png").with_suffix(".txt").write_bytes(LFS_POINTER + b"v1\noid sha256:1\n")
    add(root / "b.png").with_suffix(".txt").write_bytes("dog".encode("utf-16")[:-1])
    _, failed, _ = read(workspace, root)
    assert "git-lfs" in failed["a"] and "UTF-16" in failed["b"]


def test_what_may_not_be_looked_at_is_passed_over_alone(workspace, root, tmp_path, monkeypatch):
    """A link into a folder of somebody else, or a folder that may be listed but not entered."""
    closed = add(tmp_path / "closed" / "far.png")
    (root / "link.png").symlink_to(closed)
    (root / "captions.jsonl").write_text(json.dumps({"file": "link.png", "caption": "words"}))
    real = os.stat

    def denying(path, **options):
        if os.path.realpath(path) == str(closed):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", denying)
    captions, failed, said = read(workspace, root)
    assert captions == {"plain.png": ["a plain picture"]}
    assert "link.png" in said
    assert "Permission denied" in failed["link"]
