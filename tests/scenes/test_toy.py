"""The toy: exact denoisers, and a collapse that only guidance can cause."""

import json
import math

import pytest
import torch

from pipelines.scenes.toy import CLASSES, MODES, SPREAD, clean_estimate, draw_toy
from pipelines.scenes.toy_page import evaluate_toy
from pipelines.workspace.workspace import Workspace

ALL = torch.ones(1, *MODES.shape[:2], dtype=torch.float64)


@pytest.fixture(scope="module")
def drawn():
    return {(each.model, each.scale): each for each in draw_toy(300, (0, 1), (1.0, 8.0))}


def test_the_denoiser_of_one_mode_is_that_of_a_gaussian():
    weights = torch.zeros_like(ALL)
    weights[0, 1, 0] = 1.0
    x, sigma = torch.tensor([[0.3, -1.2]], dtype=torch.float64), 0.6
    # Linear regression of x on x_σ.
    gain = 0.4 * SPREAD**2 / ((0.4 * SPREAD) ** 2 + 0.6**2)
    expected = MODES[1, 0] + gain * (x - 0.4 * MODES[1, 0])
    torch.testing.assert_close(clean_estimate(x, sigma, weights), expected)


def test_pure_noise_says_nothing_and_no_noise_everything():
    x = torch.tensor([[5.0, -3.0]], dtype=torch.float64)
    torch.testing.assert_close(clean_estimate(x, 1.0, ALL), MODES.mean((0, 1))[None])
    near = MODES[0, 1][None] + 0.01
    torch.testing.assert_close(clean_estimate(near, 1e-6, ALL), near, atol=1e-5, rtol=0.0)


def test_the_denoiser_is_the_posterior_mean():
    rng = torch.Generator().manual_seed(0)
    count = 400_000
    chosen = MODES.flatten(0, 1)[torch.randint(4, (count,), generator=rng)]
    clean = chosen + SPREAD * torch.randn(count, 2, generator=rng, dtype=torch.float64)
    noisy = 0.5 * clean + 0.5 * torch.randn(count, 2, generator=rng, dtype=torch.float64)
    near = (noisy - torch.tensor([-0.5, -0.2])).norm(dim=1) < 0.1
    estimate = clean_estimate(noisy[near], 0.5, ALL.expand(int(near.sum()), -1, -1))
    torch.testing.assert_close(estimate.mean(0), clean[near].mean(0), atol=0.03, rtol=0.0)


def test_without_guidance_both_draw_the_data(drawn):
    for model in ("baseline", "kaleido"):
        found = drawn[model, 1.0]
        assert min(found.entropies()) > 0.99 * math.log(2)
        # The mean length of a Gaussian of two dimensions.
        assert found.distances()[0] == pytest.approx(math.sqrt(math.pi / 2), rel=0.1)


def test_strong_guidance_takes_the_baselines_modes_and_leaves_kaleidos(drawn):
    assert max(drawn["baseline", 8.0].entropies()) < 0.4 * math.log(2)
    assert min(drawn["kaleido", 8.0].entropies()) > 0.99 * math.log(2)


def test_equal_seeds_draw_equal_points():
    one, two = draw_toy(5, (3,), (2.0,)), draw_toy(5, (3,), (2.0,))
    other = draw_toy(5, (4,), (2.0,))
    assert torch.equal(one[0].points[0][0], two[0].points[0][0])
    assert not torch.equal(one[0].points[0][0], other[0].points[0][0])


def test_the_page_shows_every_number_and_runs_nothing(tmp_path):
    summary = evaluate_toy(Workspace.init(tmp_path / "workspace"))
    rows = json.loads(summary.json.read_text("utf-8"))["rows"]
    assert {(row["model"], row["cfg"]) for row in rows} == {
        (model, cfg) for model in ("baseline", "kaleido") for cfg in (1.0, 5.0, 8.0, 25.0)
    }
    page = summary.report.read_text("utf-8")
    assert all(f"{row['value']:.3f}" in page for row in rows)
    assert page.count("<circle") > 8 * len(CLASSES)
    assert "<script" not in page and "default-src 'none'" in page
