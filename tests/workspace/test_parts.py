"""Parts of the data: their texts, their shards, and which files of a kill are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.workspace.parts import WHOLE, Part, latents_journal

FORM = ".{}.kaleido-tmp-01234567-1-89abcdef"
"""A file that a killed process has left."""


def test_parts_have_each_shard_once():
    shards = [Path(f"{number:06d}.tar") for number in range(10)]
    assert [shard.stem for shard in shards if Part(2, 3).has(shard)] == [
        "000001",
        "000004",
        "000007",
    ]
    for count in (1, 2, 3, 12):
        parts = [Part(number, count) for number in range(1, count + 1)]
        assert all(sum(part.has(shard) for part in parts) == 1 for shard in shards)
    assert not Part(1, 1).has(Path("notes.tmp"))


@pytest.mark.parametrize(
    "text",
    ["", "1", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1.5/2", "1/1000000", "0000001/2", "1/"],
)
def test_other_texts_are_no_part(text):
    with pytest.raises(KaleidoError) as caught:
        Part.parse(text)
    assert (caught.value.code, caught.value.what) == ("bad-option", "--part")
    assert repr(text) in caught.value.why


def test_a_part_is_read_and_written_alike():
    for text, number, count in (
        ("1/1", 1, 1),
        ("2/3", 2, 3),
        ("3/3", 3, 3),
        ("9/999999", 9, 999999),
    ):
        assert Part.parse(text) == Part(number, count) and str(Part(number, count)) == text


def test_the_whole_has_no_name():
    assert Part() == WHOLE == Part.parse("1/1")
    assert (WHOLE.name, WHOLE.is_whole) == ("", True)
    assert (Part(1, 2).name, Part(1, 2).is_whole) == ("1-of-2", False)


@pytest.mark.parametrize(
    ("part", "kept"),
    [(Part(1, 2), {"000001.tar", "notes"}), (Part(2, 2), {"000000.tar", "notes"}), (WHOLE, set())],
)
def test_a_journal_removes_what_its_part_has_left(workspace, part, kept):
    folder = workspace.latents("palette")
    folder.mkdir(parents=True)
    for name in ("000000.tar", "000001.tar", "notes"):
        (folder / FORM.format(name)).touch()
    latents_journal(workspace, "palette", part)
    assert {path.name for path in folder.iterdir()} == {FORM.format(name) for name in kept}


def test_a_part_writes_its_own_journal_and_knows_those_of_others(workspace):
    folder = workspace.latents("palette")
    folder.mkdir(parents=True)
    first = latents_journal(workspace, "palette", Part(1, 2))
    first.begin([folder / "000000.tar"])
    assert workspace.latents_journal("palette", "1-of-2").is_file()
    (folder / "000000.tar").write_bytes(b"cut")
    second = latents_journal(workspace, "palette", Part(2, 2))
    assert second.owns(folder / "000000.tar") and second.unfinished() == []
    assert not latents_journal(workspace, "boxes").owns(folder / "000000.tar")
