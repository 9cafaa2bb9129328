"""A sample follows from its seed alone: five hundred of them, in batches of 1 and of 16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.workspace.settings import SampleSettings


@pytest.mark.slow
def test_z_and_pixels_do_not_depend_on_the_batch_size() -> None:
    bundle = load_bundle(None)
    options = SampleSettings(n=500, cfg=7.5, steps=4, seed=7, batch_size=16)
    together = draw(bundle, "two circles and a star", options)
    single = draw(bundle, "two circles and a star", replace(options, batch_size=1))
    for one, other in zip(together, single, strict=True):
        assert one.z == other.z
        assert np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max() <= 1
