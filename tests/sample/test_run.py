"""`sample` without captions takes what the workspace holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.core.errors import InputMissing
from pipelines.core.progress import Progress
from pipelines.sample.run import _some_captions, heldout_captions


class Listener(Progress):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def message(self, text: str) -> None:
        self.heard.append(text)


def test_held_out_captions_come_first_and_once(workspace, records, write_data) -> None:
    held = [replace(item, meta={**item.meta, "split": "heldout"}) for item in records[5:8]]
    twice = replace(held[0], key="again")
    write_data([*records[:5], *held, twice], 4)
    listener = Listener()
    assert _some_captions(workspace, listener) == [item.caption for item in held]
    assert not listener.heard
    assert heldout_captions(workspace, 2) == [item.caption for item in held[:2]]


def test_training_captions_serve_where_nothing_is_held_out(workspace, records, write_data) -> None:
    write_data(records, 5)
    listener = Listener()
    assert _some_captions(workspace, listener) == [item.caption for item in records]
    assert "trained on" in listener.heard[0]
    with pytest.raises(InputMissing, match="no held-out records"):
        heldout_captions(workspace)


def test_an_empty_workspace_asks_for_a_caption(workspace) -> None:
    with pytest.raises(InputMissing, match="kaleido sample"):
        _some_captions(workspace, Listener())
