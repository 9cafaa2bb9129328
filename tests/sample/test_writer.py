"""Pictures are written, listed and laid out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT
from pipelines.sample import writer
from pipelines.sample.writer import SHEET, PictureGroup, write_pictures
from tests.conftest import Told

PNGS = [encode_png(np.full((8, 8, 3), 40 * number, np.uint8)) for number in range(4)]


def _groups(*counts: int) -> list[PictureGroup]:
    return [
        PictureGroup(f"caption {number}", count, [(png, {"index": 7}) for png in PNGS[:count]])
        for number, count in enumerate(counts)
    ]


def _rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_each_picture_is_listed_when_it_is_written(tmp_path) -> None:
    listed: list[list[str]] = []

    class Watching(Told):
        @contextmanager
        def task(self, description, total, unit="it", done=0):
            assert (total, unit) == (3, "image")
            yield lambda n=1, note="": listed.extend([[row["file"] for row in _rows(tmp_path)]] * n)

    told = Watching()
    sheet = write_pictures(tmp_path, _groups(2, 1), told)
    files = ["0000-0000.png", "0000-0001.png", "0001-0000.png"]
    assert listed == [files[:1], files[:2], files]
    assert _rows(tmp_path)[2] == {"file": files[2], "index": 7}
    assert [(tmp_path / file).read_bytes() for file in files] == [PNGS[0], PNGS[1], PNGS[0]]
    assert sheet == tmp_path / SHEET and sheet.is_file() and not told.said


def test_a_stopped_run_has_listed_what_it_wrote(tmp_path) -> None:
    def stopped():
        yield PNGS[0], {}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_pictures(tmp_path, [PictureGroup("a star", 2, stopped())], SILENT)
    assert _rows(tmp_path) == [{"file": "0000-0000.png"}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000-0000.png", "samples.jsonl"]


@pytest.mark.parametrize("counts", [(4,), (2, 2), (1, 1, 1)])
def test_the_contact_sheet_is_bounded_and_says_so(tmp_path, monkeypatch, counts) -> None:
    monkeypatch.setattr(writer, "SHEET_CAPTIONS", 2)
    monkeypatch.setattr(writer, "SHEET_PICTURES", 2)
    shown = _sheet(tmp_path / "some", [min(count, 2) for count in counts[:2]], told := Told())
    assert not told.said
    assert _sheet(tmp_path / "all", counts, told) == shown
    assert len(told.said) == (counts != (2, 2))


def _sheet(folder: Path, counts: Sequence[int], told: Told) -> bytes:
    folder.mkdir()
    sheet = write_pictures(folder, _groups(*counts), told).read_bytes()
    assert len(_rows(folder)) == sum(counts)
    return sheet
