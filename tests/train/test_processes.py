"""Training refuses to run in several processes."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
from pipelines.train.tokenizer import train_tokenizer


def test_several_processes_write_nothing(trained, monkeypatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.root.rglob("*")}
    monkeypatch.setenv("WORLD_SIZE", "2")
    for start in (train_prior, train_diffusion, train_tokenizer):
        with pytest.raises(KaleidoError) as caught:
            start(trained, restart=True)
        assert caught.value.code == "many-processes"
    assert {path: path.stat().st_mtime_ns for path in trained.root.rglob("*")} == before
