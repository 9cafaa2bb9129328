"""Looking at data: records beside their latents."""

from __future__ import annotations

import pytest

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.images import decode_image
from pipelines.data.show import choose_records, show
from pipelines.extract.run import extract
from pipelines.latents.sequence import z_from_text
from pipelines.scenes.generate import write_scenes


def test_records_are_drawn_with_all_that_is_extracted(workspace):
    write_scenes(workspace, 12, seed=0, size=32, shard_size=6)
    extract(workspace, ["palette"])
    summary = show(workspace, count=3)
    assert summary.sheet == workspace.logs / "show.png"
    height, width, _ = decode_image(summary.sheet.read_bytes()).shape
    assert height > width / 2  # two pairs of a picture and its palette, then the third
    assert len({record.key for record in summary.records}) == 3
    for record in summary.records:
        assert set(record.latents) == {"palette"}
        palette = z_from_text(f"<palette> {record.latents['palette']}")["palette"]
        assert record.readable == {"palette": palette.readable()}


def test_the_choice_follows_the_seed_and_keys_are_honoured(workspace):
    write_scenes(workspace, 20, seed=0, size=16, shard_size=5)
    assert choose_records(workspace, 4) == choose_records(workspace, 4)
    assert sum(map(len, choose_records(workspace, 100).values())) == 20
    key = next(iter(choose_records(workspace, 1).values())).pop()
    assert [record.key for record in show(workspace, keys=[key]).records] == [key]
    with pytest.raises(KaleidoError) as caught:
        show(workspace, keys=["nobody"])
    assert caught.value.code == "bad-option"


def test_what_is_missing_is_named(workspace):
    with pytest.raises(InputMissing) as caught:
        show(workspace)
    assert caught.value.code == "input-missing"
    write_scenes(workspace, 4, seed=0, size=16)
    assert show(workspace, count=2).records[0].latents == {}
    with pytest.raises(InputMissing) as caught:
        show(workspace, kinds=["boxes"])
    assert caught.value.code == "input-missing"
    assert "extract boxes" in caught.value.hint
