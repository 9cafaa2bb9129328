"""The embedded models draw the same on a GPU as on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import Sample, draw
from pipelines.workspace.settings import SampleSettings

pytestmark = pytest.mark.gpu

OPTIONS = SampleSettings(n=4, cfg=7.5, steps=30, seed=5)
"""One of the 30 noise levels is the one at which guidance ends, but for rounding."""


def drawn(baseline: bool) -> list[Sample]:
    return list(draw(load_bundle(None, baseline), "two circles and a star", OPTIONS))


@pytest.mark.parametrize("baseline", [False, True])
def test_a_seed_means_the_same_z_and_picture(no_gpu, baseline: bool) -> None:
    bundle = load_bundle(None, baseline)
    assert {value.device.type for value in bundle.diffusion.state_dict().values()} == {"cuda"}
    assert bundle.prior.model.device.type == "cuda"
    on_gpu = drawn(baseline)
    with no_gpu():
        on_cpu = drawn(baseline)
    assert [each.z for each in on_gpu] == [each.z for each in on_cpu]
    apart = np.stack(
        [abs(a.pixels.astype(int) - b.pixels) for a, b in zip(on_gpu, on_cpu, strict=True)]
    )
    assert apart.mean() < 0.2
    assert np.mean(apart > 4) < 0.005  # an edge of an object may lie on the other side of a pixel


def test_sampling_leaves_the_precision_of_the_users_program_alone() -> None:
    before = torch.backends.cudnn.conv.fp32_precision
    drawn(baseline=True)
    assert torch.backends.cudnn.conv.fp32_precision == before
