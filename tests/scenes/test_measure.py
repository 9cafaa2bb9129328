from dataclasses import replace

import numpy as np
import pytest

from pipelines.scenes.measure import measure
from pipelines.scenes.protocol import real_of
from pipelines.scenes.reference import Asked, reference_images
from tests.evaluate.conftest import CAPTIONS, look

CEILING = 0.98
ASKED = [Asked.by(caption) for caption in CAPTIONS]


def changed(change):
    source = real_of(12, "data")

    def spoiled(captions, seed):
        for z, images in source(captions, seed):
            yield z, change(images)

    return spoiled


def values(estimates):
    return {name: estimate.value for name, estimate in estimates.items()}


@pytest.fixture(scope="module")
def sound(data, reference):
    return values(measure(data, reference, ASKED, CEILING))


def test_real_pictures_score_as_real(sound):
    assert sound["caption"] > 0.95
    assert sound["precision"] > 0.7 and sound["recall"] > 0.7
    assert sound["edges"] == pytest.approx(1.0, abs=0.1)
    assert sound["vendi"] > sound["vendi.infinity"] > 2.0
    assert sound["density"] == pytest.approx(1.0, abs=0.3) and sound["coverage.real"] > 0.7
    assert abs(sound["mmd"]) < 0.01
    assert "boxes" not in sound


def test_repeated_pictures_cost_diversity_and_recall_but_not_the_caption(judge, reference, sound):
    repeated = changed(lambda images: np.concatenate([images[:3]] * 4))
    got = values(measure(look(repeated, judge), reference, ASKED, CEILING))
    assert got["vendi"] < 3.01 < sound["vendi"]
    assert got["mss"] > sound["mss"] + 0.1
    assert got["vendi.infinity"] < sound["vendi.infinity"]
    assert got["recall"] < 0.5 * sound["recall"]
    assert got["coverage.real"] < 0.7 * sound["coverage.real"]
    assert got["entropy.colour"] < sound["entropy.colour"]
    assert got["caption"] > 0.9


def test_noise_costs_fidelity_and_not_diversity_of_modes(judge, reference, sound):
    rng = np.random.default_rng(0)
    noisy = changed(
        lambda images: np.clip(images + rng.normal(0, 25, images.shape), 0, 255).astype(np.uint8)
    )
    got = values(measure(look(noisy, judge), reference, ASKED, CEILING))
    assert got["frechet"] > 3.0 * sound["frechet"]
    assert got["precision"] < 0.8 * sound["precision"]
    assert got["edges"] > 1.5


def test_pictures_of_other_captions_lose_the_caption(data, reference):
    shifted = replace(data, verdicts=data.verdicts[1:] + data.verdicts[:1])
    assert values(measure(shifted, reference, ASKED, CEILING))["caption"] == 0.0


def test_boxes_are_scored_against_chance_where_there_is_a_z(data, reference):
    # A perfect model: its z is what the judge sees.
    def text(verdict):
        items = [
            f"{item.label} " + "".join(f"<{value}>" for value in item.box)
            for item in verdict.objects
        ]
        return "<boxes> " + " <;> ".join(items)

    z = [[[text(v) for v in group] for group in by_seed] for by_seed in data.verdicts]
    got = values(measure(replace(data, z=z), reference, ASKED, CEILING))
    assert got["boxes"] == 1.0 and got["z.parses"] == 1.0
    assert got["boxes.of_ceiling"] == pytest.approx(1.0 / CEILING)
    assert got["boxes.shuffled"] < 0.05 < got["boxes.resampled"] < 0.5
    assert got["z.agrees"] == pytest.approx(got["caption"])
    assert min(got["z.count"], got["z.shapes"]) >= got["z.agrees"]


def test_a_z_without_boxes_is_still_checked_for_its_grammar(data, reference):
    z = [[["<palette>"] * len(group) for group in by_seed] for by_seed in data.verdicts]
    got = values(measure(replace(data, z=z), reference, ASKED, CEILING))
    assert got["z.parses"] == 0.0 and "boxes" not in got and "z.agrees" not in got


def test_wrong_pictures_are_diverse_but_not_among_valid_ones(judge, reference, sound):
    # Three pictures in four show what nobody asked for; the others are one valid one, repeated.
    wrong = reference_images("a hexagon, a heart and a triangle", 9, 0, "data")
    mixed = changed(lambda images: np.concatenate([images[:1].repeat(3, 0), wrong]))
    estimates = measure(look(mixed, judge), reference, ASKED, CEILING)
    got = values(estimates)
    assert got["vendi"] > 4.0 and got["mss"] < 0.5
    assert got["vendi.valid"] == pytest.approx(1.0) and got["mss.valid"] == pytest.approx(1.0)
    assert estimates["vendi.valid"].pictures == 3 * 8
    assert sound["vendi.valid"] == pytest.approx(sound["vendi"], rel=0.05)


def test_groups_with_fewer_than_two_valid_pictures_are_skipped_and_counted(data, reference):
    verdicts = [[list(group) for group in by_seed] for by_seed in data.verdicts]
    verdicts[0] = [[replace(group[0], objects=())] * 11 + [group[-1]] for group in verdicts[0]]
    estimates = measure(replace(data, verdicts=verdicts), reference, ASKED, CEILING)
    for name in ("vendi.valid", "mss.valid"):
        assert estimates[name].skipped == 2 and np.isnan(estimates[name].table[0]).all()
        assert 60 < estimates[name].pictures <= 72
        assert estimates[name].interval().known
    empty = [[[replace(v, objects=()) for v in group] for group in b] for b in data.verdicts]
    nothing = measure(replace(data, verdicts=empty), reference, ASKED, CEILING)["vendi.valid"]
    assert np.isnan(nothing.value) and (nothing.pictures, nothing.skipped) == (0, 8)


def test_estimates_average_their_tables(data, reference):
    estimates = measure(data, reference, ASKED, CEILING)
    for name in ("vendi", "recall", "caption", "entropy.colour"):
        estimate = estimates[name]
        assert estimate.table.shape == (len(CAPTIONS), 2)
        assert estimate.value == pytest.approx(np.nanmean(estimate.table))


def test_palettes_are_measured_where_z_has_one(data, reference, sound):
    assert not any(name.startswith("palette") for name in sound)
    colours = np.full((*data.edges.shape, 6), np.nan)
    numbers = (0.02, 0.1, 0.2, 0.5, 0.3, 0.6)
    colours[0, 0, :3] = numbers
    estimates = measure(replace(data, colours=colours), reference, ASKED, CEILING)
    parts = ("palette", "palette.shares")
    names = [part + control for control in ("", ".resampled", ".shuffled") for part in parts]
    assert [estimates[name].value for name in names] == pytest.approx(numbers)
    assert np.isfinite(estimates["palette"].table).sum() == 1
