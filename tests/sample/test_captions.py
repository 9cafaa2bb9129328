"""`sample` without captions takes what the workspace holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.core.errors import InputMissing
from pipelines.sample.captions import captions_to_draw, heldout_captions
from tests.conftest import Told


def test_held_out_captions_come_first_and_once(workspace, records, write_data) -> None:
    held = [replace(item, meta={**item.meta, "split": "heldout"}) for item in records[5:8]]
    twice = replace(held[0], key="again")
    write_data([*records[:5], *held, twice], 4)
    told = Told()
    assert captions_to_draw(workspace, None, told) == [item.caption for item in held]
    assert "3 held-out captions" in told.said[0]
    assert heldout_captions(workspace, 2) == [item.caption for item in held[:2]]


def test_training_captions_serve_where_nothing_is_held_out(workspace, records, write_data) -> None:
    write_data(records, 5)
    told = Told()
    assert captions_to_draw(workspace, None, told) == [item.caption for item in records]
    assert "trained on" in told.said[0]
    with pytest.raises(InputMissing):
        heldout_captions(workspace)


def test_an_empty_workspace_asks_for_a_caption(workspace) -> None:
    with pytest.raises(InputMissing):
        captions_to_draw(workspace, None, Told())
