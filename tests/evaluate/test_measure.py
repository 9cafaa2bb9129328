from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.measure import measure
from pipelines.evaluate.observe import observe, real_of
from pipelines.evaluate.reference import asked_shapes
from tests.evaluate.conftest import CAPTIONS

ASKED = [asked_shapes(caption) for caption in CAPTIONS]


def changed(change):
    source = real_of(12, "data")

    def spoiled(caption, seed):
        z, images = source(caption, seed)
        return z, change(images)

    return spoiled


def values(estimates):
    return {name: estimate.value for name, estimate in estimates.items()}


@pytest.fixture(scope="module")
def sound(data, reference):
    return values(measure(data, reference, ASKED))


def test_real_pictures_score_as_real(sound):
    assert sound["caption"] > 0.95
    assert sound["precision"] > 0.7 and sound["recall"] > 0.7
    assert sound["edges"] == pytest.approx(1.0, abs=0.1)
    assert sound["vendi"] > 4.0
    assert "boxes" not in sound


def test_repeated_pictures_cost_diversity_and_recall_but_not_the_caption(judge, reference, sound):
    repeated = changed(lambda images: np.concatenate([images[:3]] * 4))
    got = values(measure(observe(repeated, judge, CAPTIONS, (0, 1)), reference, ASKED))
    assert got["vendi"] < 3.01 < sound["vendi"]
    assert got["mss"] > sound["mss"] + 0.1
    assert got["recall"] < 0.5 * sound["recall"]
    assert got["entropy.colour"] < sound["entropy.colour"]
    assert got["caption"] > 0.9


def test_noise_costs_fidelity_and_not_diversity_of_modes(judge, reference, sound):
    rng = np.random.default_rng(0)
    noisy = changed(
        lambda images: np.clip(images + rng.normal(0, 25, images.shape), 0, 255).astype(np.uint8)
    )
    got = values(measure(observe(noisy, judge, CAPTIONS, (0, 1)), reference, ASKED))
    assert got["frechet"] > 3.0 * sound["frechet"]
    assert got["precision"] < 0.8 * sound["precision"]
    assert got["edges"] > 1.5


def test_pictures_of_other_captions_lose_the_caption(data, reference):
    shifted = replace(data, verdicts=data.verdicts[1:] + data.verdicts[:1])
    assert values(measure(shifted, reference, ASKED))["caption"] == 0.0


def test_boxes_are_scored_against_chance_where_there_is_a_z(data, reference):
    # A perfect model: its z is what the judge sees.
    def text(verdict):
        items = [
            f"{item.shape} " + "".join(f"<{value}>" for value in item.box)
            for item in verdict.objects
        ]
        return "<boxes> " + " <;> ".join(items)

    z = [[[text(v) for v in group] for group in by_seed] for by_seed in data.verdicts]
    got = values(measure(replace(data, z=z), reference, ASKED))
    assert got["boxes"] == 1.0 and got["z.parses"] == 1.0
    assert got["boxes.shuffled"] < 0.3
    assert got["z.agrees"] == pytest.approx(got["caption"])


def test_estimates_average_their_tables(data, reference):
    estimates = measure(data, reference, ASKED)
    for name in ("vendi", "recall", "caption", "entropy.colour"):
        estimate = estimates[name]
        assert estimate.table.shape == (len(CAPTIONS), 2)
        assert estimate.value == pytest.approx(np.nanmean(estimate.table))
