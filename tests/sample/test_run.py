"""`sample` draws pictures of captions into a folder."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from pipelines.core.images import decode_image
from pipelines.sample.draw import draw
from pipelines.sample.run import sample
from pipelines.workspace.settings import SampleSettings
from tests.conftest import Told


def test_samples_have_a_picture_and_a_row(workspace, bundle, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.sample.run.load_bundle", lambda *_: bundle)
    options = SampleSettings(n=2, cfg=1.0, steps=1)
    summary = sample(workspace, ["a star", "two circles"], options)
    lines = (summary.folder / "samples.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["caption"] for row in rows] == ["a star"] * 2 + ["two circles"] * 2
    assert summary.samples == len(rows) and summary.sheet.is_file()
    drawn = [item for row in rows[::2] for item in draw(bundle, row["caption"], options)]
    for row, item in zip(rows, drawn, strict=True):
        assert row["z"] == item.z
        assert _pixels(summary.folder / row["file"]) == item.pixels.tobytes()


def _pixels(path: Path) -> bytes:
    return decode_image(path.read_bytes()).tobytes()


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
