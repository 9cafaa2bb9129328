from __future__ import annotations

import numpy as np
import pytest

from pipelines.bases.draw import Picture, draw, parse_size
from pipelines.bases.loop import Guidance
from pipelines.core.errors import KaleidoError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.parametrize(
    ("text", "size"), [("", (64, 64)), ("96", (96, 96)), ("128x64", (64, 128)), ("64×32", (32, 64))]
)
def test_sizes_are_width_and_height(loaded, text, size):
    base = loaded("sana")
    assert parse_size(base.family, base.pipe, text) == size


@pytest.mark.parametrize("text", ["big", "100", "64x", "0", "64x65"])
def test_sizes_that_cannot_be_drawn_are_refused(loaded, text):
    base = loaded("sana")
    with pytest.raises(KaleidoError) as caught:
        parse_size(base.family, base.pipe, text)
    assert caught.value.code == "bad-option"


def test_batches_change_pictures_by_rounding_alone(loaded):
    base, prompts, seeds = loaded("sana"), ["a", "b", "c"], [1, 2, 3]

    def pictures(batch_size, **more):
        wanted = Picture(64, 64, Guidance(2, 4.0), batch_size=batch_size, **more)
        return np.stack(list(draw(base, prompts, seeds, wanted))).astype(int)

    one = pictures(1)
    assert one.shape == (3, 64, 64, 3) and np.ptp(one) > 20
    assert np.abs(one - pictures(2)).max() <= 1
    assert np.abs(one - pictures(1, negative="blurred")).max() > 1


def test_memory_that_runs_out_is_the_users_error(loaded, monkeypatch):
    base = loaded("sana")

    def fail(*_, **__):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(type(base.family), "predict", fail)
    with pytest.raises(KaleidoError) as caught:
        list(draw(base, ["a"], [1], Picture(64, 64, Guidance(2, 1.0))))
    assert caught.value.code == "out-of-memory"
