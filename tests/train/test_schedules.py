"""Schedules of scheduled sampling, and drawing tokens by inversion."""

import numpy as np
import pytest
import torch

from pipelines.train.schedules import draw_tokens, replaced_share


@pytest.mark.parametrize(
    ("schedule", "shares"),
    [
        ("off", (0.0, 0.0, 0.0)),
        ("linear", (0.0, 0.5, 1.0)),
        ("exponential", (0.0, 0.9, 0.99)),
        ("inverse-sigmoid", (1 / 101, 0.5, 100 / 101)),
    ],
)
def test_the_share_grows_by_its_formula(schedule, shares):
    for done, share in zip((0.0, 0.5, 1.0), shares, strict=True):
        assert replaced_share(schedule, 1.0, done) == pytest.approx(share)
        assert replaced_share(schedule, 0.3, done) == pytest.approx(0.3 * share)
    assert replaced_share(schedule, 1.0, 7.0) == pytest.approx(shares[-1])


def test_tokens_are_drawn_from_the_softmax():
    logits = torch.tensor([2.0, -1.0, 0.0, -torch.inf])
    levels = (torch.arange(10_000) + 0.5)[None] / 10_000
    drawn = draw_tokens(logits.expand(1, 10_000, 4), levels)[0]
    shares = np.bincount(drawn, minlength=4) / 10_000
    assert shares == pytest.approx(logits.softmax(-1).numpy(), abs=2e-4)
