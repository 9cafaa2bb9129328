"""`data folder`: images and captions of one's own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.core.files import sha256_file
from pipelines.data.folder import write_folder
from pipelines.data.keys import Keys
from pipelines.scenes.generate import write_scenes
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_manifest, read_rows
from pipelines.workspace.shards import check_key, read_records
from pipelines.workspace.workspace import Workspace


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four images with captions, one of them in a subfolder."""
    root = tmp_path / "pictures"
    for index, name in enumerate(("apple", "pear", "sub/my plum", "fig")):
        add_image(root / f"{name}.png", value=40 * index)
        (root / f"{name}.txt").write_text(f"a  {name}\n of one's own\n")
    return root


def add_image(path: Path, value: int = 0, size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 100, 200)).save(path)


def all_records(workspace: Workspace) -> dict[str, object]:
    return {record.key: record for path in workspace.data_shards() for record in read_records(path)}


def test_text_files_give_captions_of_one_line(workspace, folder):
    summary = write_folder(workspace, folder)
    records = all_records(workspace)
    assert (summary.ok, summary.filtered, summary.failed) == (4, 0, 0)
    assert records["apple"].caption == "a apple of one's own"
    assert records["apple"].meta["file"] == "apple.png"
    assert {record.pixels.shape for record in records.values()} == {(10, 20, 3)}


def test_pixels_are_those_of_the_image(workspace, folder):
    write_folder(workspace, folder)
    pixels = all_records(workspace)["pear"].pixels
    assert (pixels == (40, 100, 200)).all()


@pytest.mark.parametrize("name", ["/", ".", ".."])
def test_a_table_may_name_what_is_no_file(workspace, folder, name):
    (folder / "captions.csv").write_text(f"file,caption\n{name},a star\n")
    summary = write_folder(workspace, folder)
    assert (summary.ok, summary.failed) == (4, 1)


def test_the_input_is_not_modified(workspace, folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    before = [(path, sha256_file(path), path.stat().st_mtime_ns) for path in files]
    write_folder(workspace, folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert [(path, sha256_file(path), path.stat().st_mtime_ns) for path in files] == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.jsonl", '{"file": "apple.png", "caption": "red, ripe"}\n\n'),
        ("captions.csv", 'caption,image\n"red, ripe",apple.png\n'),
        ("captions.tsv", "\ufefffile_name\ttext\tid\napple.png\tred, ripe\t3\n"),
    ],
)
def test_a_table_goes_before_text_files(workspace, folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    summary = write_folder(workspace, folder)
    records = all_records(workspace)
    assert summary.ok == 4
    assert records["apple"].caption == "red, ripe"
    assert records["pear"].caption == "a pear of one's own"


def test_one_image_may_have_several_captions(workspace, folder):
    rows = [{"file": "apple.png", "caption": f"wording {index}"} for index in range(3)]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_folder(workspace, folder)
    captions = [record.caption for record in all_records(workspace).values()]
    assert [caption for caption in captions if caption.startswith("wording")] == [
        "wording 0",
        "wording 1",
        "wording 2",
    ]


def test_rows_of_a_table_that_cannot_be_used_are_recorded(workspace, folder):
    lines = [
        b'{"file": "apple.png", "caption": "sound"}',
        b'{"file": "gone.png", "caption": "no such image"}',
        b'{"file": "../secret.png", "caption": "outside"}',
        b'{"file": "/etc/hostname", "caption": "outside"}',
        b'{"file": "pear.png", "caption": "caf\xe9"}',
        b'{"file": "fig.png", "caption": "\\ud800"}',
        b'{"caption": "no file"}',
        b'{"file": "sub/my plum.png", "caption": 3}',
        b"not json",
        b"[1]",
    ]
    (folder / "captions.jsonl").write_bytes(b"\n".join(lines))
    summary = write_folder(workspace, folder)
    reasons = sorted(reason for _, reason in summary.failures)
    assert summary.ok == 1
    assert summary.failed == 9
    for part in (
        "gone.png: the image does not exist",
        "../secret.png: the image lies outside",
        "/etc/hostname: the image lies outside",
        "pear.png: the caption is not UTF-8",
        "fig.png: the caption is not UTF-8",
        "captions-line-7: the row names no image",
        "sub/my plum.png: the row has no caption",
        "captions-line-9: the line is not JSON",
        "captions-line-10: the line is not a JSON object",
    ):
        assert any(part in reason for reason in reasons), (part, reasons)


def test_every_input_row_has_an_outcome(workspace, folder):
    add_image(folder / "alone.png")
    (folder / "photo.HEIC").write_bytes(b"x")
    (folder / "README.txt").write_text("not a caption")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "empty.png").write_bytes(b"")
    (folder / "empty.txt").write_text("a caption")
    summary = write_folder(workspace, folder, shard_size=3)
    rows = [row for path in workspace.data_shards() for row in read_rows(path)]
    assert Counter(row.outcome for row in rows) == {"ok": 4, "failed": 4}
    assert {row.key for row in rows if row.outcome != "ok"} == {
        "alone",
        "photo",
        "empty",
        "README",
    }
    assert (summary.shards, summary.ok, summary.filtered, summary.failed) == (3, 4, 0, 4)
    manifests = [read_manifest(path) for path in workspace.data_shards()]
    assert [sum(manifest.counts.values()) for manifest in manifests] == [3, 3, 2]


def test_a_second_run_skips_and_a_changed_file_does_not(workspace, folder):
    assert write_folder(workspace, folder, shard_size=2).skipped == 0
    before = [sha256_file(path) for path in workspace.data_shards()]
    again = write_folder(workspace, folder, shard_size=2)
    assert (again.shards, again.skipped, again.ok) == (2, 2, 4)
    (folder / "apple.txt").write_text("a new caption")
    changed = write_folder(workspace, folder, shard_size=2)
    assert (changed.skipped, changed.ok) == (1, 4)
    assert all_records(workspace)["apple"].caption == "a new caption"
    assert sha256_file(workspace.data_shards()[1]) == before[1]


def test_equal_input_gives_equal_bytes(tmp_path, folder):
    shards = []
    for name in ("one", "two"):
        workspace = Workspace.init(tmp_path / name)
        write_folder(workspace, folder)
        shards.append(sha256_file(workspace.data / "000000.tar"))
    assert shards[0] == shards[1]


def test_removed_images_leave_the_data(workspace, folder):
    write_folder(workspace, folder, shard_size=2)
    for name in ("pear", "sub/my plum"):
        (folder / f"{name}.png").unlink()
        (folder / f"{name}.txt").unlink()
    assert write_folder(workspace, folder, shard_size=2).ok == 2
    assert set(all_records(workspace)) == {"apple", "fig"}
    assert sorted(path.name for path in workspace.data.iterdir()) == [
        "000000.json",
        "000000.parquet",
        "000000.tar",
    ]


def test_data_of_another_source_are_replaced_only_on_request(workspace, folder):
    write_scenes(workspace, 3, seed=0)
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, folder)
    assert caught.value.code == "would-overwrite"
    assert len(all_records(workspace)) == 3
    write_folder(workspace, folder, overwrite=True)
    assert "apple" in all_records(workspace)
    assert len(all_records(workspace)) == 4


def test_copies_of_an_image_and_all_its_captions_are_on_one_side(workspace, tmp_path):
    root = tmp_path / "many"
    for index in range(400):
        add_image(root / f"{index}.png", value=index // 2 % 100, size=(2, 1 + index // 200))
        (root / f"{index}.txt").write_text(f"caption {index}")
    rows = [{"file": f"{index}.png", "caption": f"other {index}"} for index in range(0, 400, 5)]
    rows += [{"file": f"{index}.png", "caption": f"caption {index}"} for index in range(0, 400, 5)]
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    write_folder(workspace, root)
    splits: dict[bytes, list[str]] = {}
    for record in all_records(workspace).values():
        splits.setdefault((root / record.meta["file"]).read_bytes(), []).append(
            record.meta["split"]
        )
    assert (len(splits), sum(map(len, splits.values()))) == (200, 480)
    assert all(len(set(of_one)) == 1 for of_one in splits.values())
    assert 8 <= sum(of_one[0] == "heldout" for of_one in splits.values()) <= 36


def test_equal_captions_do_not_leave_training_without_images(workspace, tmp_path):
    root = tmp_path / "same"
    for index in range(100):
        add_image(root / f"{index}.png", value=index, size=(2, 2))
        (root / f"{index}.txt").write_text("an apple")
    write_folder(workspace, root)
    counts = Counter(record.meta["split"] for record in all_records(workspace).values())
    assert 2 <= counts["heldout"] <= 25


@pytest.mark.parametrize(
    "make",
    [
        lambda root: None,
        lambda root: root.write_text("x"),
        lambda root: root.mkdir(),
        lambda root: add_image(root / "a.png"),
    ],
    ids=["missing", "file", "empty", "without captions"],
)
def test_a_folder_that_cannot_serve_is_refused(workspace, tmp_path, make):
    root = tmp_path / "given"
    make(root)
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, root)
    assert (caught.value.code, caught.value.what) == ("bad-data", str(root))


def test_two_tables_are_refused(workspace, folder):
    (folder / "captions.csv").write_text("file,caption\n")
    (folder / "captions.jsonl").write_text("")
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, folder)
    assert caught.value.code == "bad-data"


def test_a_table_without_the_columns_is_refused(workspace, folder):
    (folder / "captions.csv").write_text("picture,label\napple.png,apple\n")
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, folder)
    assert caught.value.code == "bad-data"
    assert "picture, label" in caught.value.hint


def test_the_workspace_itself_is_refused(workspace):
    with pytest.raises(KaleidoError) as caught:
        write_folder(workspace, workspace.root)
    assert caught.value.code == "bad-data"


def test_settings_decide_size_and_length(workspace, folder):
    settings = override(
        workspace.settings, {"data.image_size": 32, "data.fit": "pad", "data.max_caption": 22}
    )
    small = Workspace(workspace.root, settings)
    failures = write_folder(small, folder).failures
    assert [reason for _, reason in failures] == [
        "sub/my plum.png: the caption has 26 characters; the limit is 22."
    ]
    assert all_records(small)["apple"].pixels.shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["a.b.png", "ä.png", "x/y.png", "a b.jpg", "x" * 200 + ".png"])
def test_a_key_made_from_an_unsafe_path_is_safe_and_hashed(name):
    key = Keys().make(name)
    check_key(key)
    assert key == Keys().make(name)
    assert key != name.rpartition(".")[0]


@pytest.mark.parametrize(
    ("name", "start"),
    [("Äpfel und Öl.png", "Apfel-und-Ol-"), ("-x.png", "x-"), ("雪.png", "record-")],
)
def test_a_key_can_be_read_and_is_no_option(name, start):
    key = Keys().make(name)
    check_key(key)
    assert key.startswith(start)


def test_keys_are_unique():
    keys = Keys()
    names = ["a.png", "a.jpg", "a.png", "x/a.png", "x-a.png", "x a.png", "a.png"]
    made = [keys.make(name) for name in names]
    assert made[0] == "a"
    assert made[4] == "x-a"
    assert len(set(made)) == len(names)
