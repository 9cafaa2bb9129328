"""`sample` writes pictures, their list and a contact sheet."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from pipelines.core.progress import Progress
from pipelines.sample.draw import draw
from pipelines.sample.run import (
    SampleGroup,
    _write_samples,
    sample,
)
from pipelines.workspace.settings import SampleSettings
from tests.conftest import Told


def test_samples_are_listed_as_they_are_drawn(bundle, tmp_path) -> None:
    options = SampleSettings(n=2, cfg=1.0, steps=1)
    listed: list[tuple[int, int]] = []

    class Watching(Progress):
        @contextmanager
        def task(self, description, total, unit="it", done=0):
            assert (total, unit) == (4, "image")
            yield lambda n=1, note="": listed.append((n, len(_rows(tmp_path))))

    groups = [
        SampleGroup(caption, 2, draw(bundle, caption, options))
        for caption in ("a star", "two circles")
    ]
    _write_samples(tmp_path, bundle, groups, options, Watching())
    assert listed == [(1, 0), (1, 0), (1, 2), (1, 2)]
    rows = _rows(tmp_path)
    assert [row["caption"] for row in rows] == ["a star"] * 2 + ["two circles"] * 2
    assert {row["file"] for row in rows} == {path.name for path in tmp_path.glob("*.png")}


def test_the_contact_sheet_is_bounded_and_says_so(workspace, bundle, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.sample.run.load_bundle", lambda *_: bundle)
    monkeypatch.setattr("pipelines.sample.run.SHEET_SAMPLES", 1)
    told, options = Told(), SampleSettings(n=2, cfg=1.0, steps=1)
    summary = sample(workspace, ["a star"], options, progress=told)
    assert summary.samples == len(_rows(summary.folder)) == 2
    assert "first 1 samples" in told.said[-1]
    one = sample(workspace, ["a star"], replace(options, n=1), progress=told)
    assert summary.sheet.read_bytes() == one.sheet.read_bytes()
    assert len(told.said) == 1


def _rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_the_part_of_a_caption_that_is_not_read_is_named(workspace, bundle, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.sample.run.load_bundle", lambda *_: bundle)
    settings, told = SampleSettings(n=1, cfg=1.0, steps=1), Told()
    limit = bundle.prior.max_caption_tokens
    longest = " ".join(["star"] * (limit - 1))  # and the end token
    sample(workspace, [longest], settings, progress=told)
    assert not told.said
    sample(workspace, [f"{longest} circle", f"{longest} heart"], settings, progress=told)
    (said,) = told.said
    assert f"at most {limit} tokens" in said
    assert "Not read: 'circle'." in said
    assert "1 more" in said


def test_the_unread_part_is_what_changes_no_state(bundle) -> None:
    prior = bundle.prior
    caption = "a star and " * 30 + "a hexagon with a <pad> below"
    unread = prior.unread_part(caption)
    assert unread and caption.replace("<pad>", "< pad>").endswith(unread)
    shorter = caption.replace("<pad>", "< pad>")[: -len(unread)].strip()
    ids, _ = prior.tokenize([caption])
    assert torch.equal(ids, prior.tokenize([shorter])[0])
    assert prior.unread_part(shorter) == "" != prior.unread_part(shorter + " star")
