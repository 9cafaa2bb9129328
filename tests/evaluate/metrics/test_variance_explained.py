from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.evaluate.metrics.statistics import jackknife
from pipelines.evaluate.metrics.variance_explained import explained, twins_of
from pipelines.evaluate.observe import Cell, Observed
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.sample.engine import run_here
from pipelines.workspace.settings import SampleSettings

NOTHING = np.zeros(0)


def model(share, captions=40, seeds=2, n=12, twins=4, dims=32, seed=0):
    """Pictures of which z decides `share` of the variance: caption + z + noise, all Gaussian."""
    rng = np.random.default_rng(seed)
    middle = 10.0 * rng.normal(size=(captions, 1, 1, dims))
    z = np.sqrt(share) * rng.normal(size=(captions, seeds, n, dims))
    noise = np.sqrt(1.0 - share)

    def drawn(of):
        return middle[:, : of.shape[1]] + of + noise * rng.normal(size=of.shape)

    first, second = drawn(z), drawn(z[:, :1, :twins])[:, 0]
    seen = Observed(first, [], [], NOTHING, NOTHING, NOTHING, NOTHING)
    return seen, Cell(second, [], [], NOTHING, NOTHING, NOTHING, NOTHING)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_the_share_is_that_of_the_model_it_was_drawn_from(share):
    estimate = explained(*model(share))
    assert estimate.value == pytest.approx(share, abs=0.06)
    interval = estimate.interval()
    assert interval.low - 0.02 <= share <= interval.high + 0.02
    assert estimate.pictures == 40 * (2 * 12 + 4)


def test_it_is_unbiased_where_z_is_not_heeded_and_few_are_drawn_twice():
    values = [explained(*model(0.0, 8, 1, 4, 2, seed=seed)).value for seed in range(300)]
    assert abs(np.mean(values)) < 3.0 * np.std(values) / np.sqrt(300) + 0.01
    assert min(values) < 0.0  # it is not clipped


def test_one_caption_has_a_share_and_no_interval():
    estimate = explained(*model(0.5, captions=1))
    assert np.isfinite(estimate.value) and not estimate.interval().known
    assert estimate.skipped == 0


def test_twins_have_the_same_z_and_other_noise(trained):
    bundle, options = load_bundle(trained), SampleSettings(n=6, cfg=1.0, steps=2, seed=3)
    with torch.no_grad():  # untrained, it draws grey whatever the noise
        bundle.diffusion.denoiser.proj_out.out.weight += 0.01
    first = list(draw(bundle, "a star", options))
    z = {"a star": [sample.z for sample in first]}
    run = run_here({"kaleido": bundle})
    ((texts, images),) = twins_of("kaleido", options, z, run)(["a star"], 3)
    assert texts == z["a star"][:4] and images.shape == (4, 16, 16, 3)
    assert all((one.pixels != other).any() for one, other in zip(first, images, strict=False))
    fewer = {"a star": z["a star"][:2]}
    ((_, again),) = twins_of("kaleido", options, fewer, run)(["a star"], 3)
    np.testing.assert_array_equal(again, images[:2])


def test_pictures_that_are_all_alike_have_no_variance_to_explain():
    seen, twins = model(1.0)
    alike = replace(seen, features=np.ones_like(seen.features))
    assert np.isnan(explained(alike, replace(twins, features=np.ones_like(twins.features))).value)


def test_contributions_are_those_of_leaving_out_a_caption():
    seen, twins = model(0.6, captions=5, seeds=2, n=3, twins=2, dims=4)

    def share(kept):
        first, second = seen.features[kept, 0, :2], twins.features[kept]
        within = ((first - second) ** 2).sum(2).mean(1).sum() / 2
        apart = seen.features[kept].reshape(len(kept), 6, 4)
        return 1 - within / apart.var(1, ddof=1).sum()

    value, pseudo = jackknife(share, 5)
    estimate = explained(seen, twins)
    assert estimate.value == pytest.approx(value)
    assert estimate.table == pytest.approx(np.repeat(pseudo[:, None], 2, 1))
    one = explained(*model(0.6, captions=1))
    assert (one.table == one.value).all()
