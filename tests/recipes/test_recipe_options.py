from __future__ import annotations

from pathlib import Path

from recipes.recipe_options import recipe_options


def test_what_is_not_told_has_a_default():
    options = recipe_options([], "judge", 100)
    assert (options.images, options.threads, options.seed) == (100, 1, 0)
    assert options.out == Path("runs/judge").resolve()


def test_what_is_told(tmp_path):
    out = tmp_path / "mine"
    command = ["--out", str(out), "--images", "8", "--threads", "2", "--seed", "3"]
    options = recipe_options(command, "judge", 100)
    assert (options.images, options.threads, options.seed) == (8, 2, 3)
    assert (options.out, options.checkpoint) == (out, tmp_path / "mine-checkpoint")
