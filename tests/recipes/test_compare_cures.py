"""The comparison of cures: it trains on from the shipped models, measures, and goes on."""

from __future__ import annotations

import json

from recipes import compare_cures

TINY = ("--scenes", "24", "--seeds", "0", "--steps", "1", "-n", "1", "--pictures", "1")
ARMS = ("prior, preference", "denoiser, noise on z")


def test_arms_are_trained_measured_and_kept(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr(compare_cures, "fresh_captions", lambda count: ["two circles and a star"])
    monkeypatch.setattr("sys.argv", ["cures", str(tmp_path / "ws"), *TINY, "--arms", *ARMS])
    compare_cures.main()
    found = json.loads(capsys.readouterr().out)
    assert [key.split(", {")[0] for key in found] == [ARMS[0], ARMS[1], ARMS[1]]
    prior, denoiser = found[next(iter(found))], found[list(found)[1]]
    assert set(prior) == {"iou", "below a half", "agrees"}
    assert set(denoiser) == {*prior, "kept"}
    assert all(0.0 <= value <= 1.0 for values in found.values() for value in values.values())
    monkeypatch.setattr(compare_cures, "train", None)  # nothing is left to train
    compare_cures.main()
    assert json.loads(capsys.readouterr().out) == found
