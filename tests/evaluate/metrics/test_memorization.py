from dataclasses import replace

import numpy as np
import pytest

from pipelines.evaluate.metrics.memorization import (
    GROUP,
    TrainingPictures,
    copies,
    nearest,
    training_records,
)
from pipelines.evaluate.observe import Eye, Observed, observe
from pipelines.models.pixels import pixels_of
from pipelines.scenes.generate import make_record
from pipelines.workspace.shards import records_of


def seen(features):
    """Observed pictures of which the features alone matter, (captions, seeds, n, d)."""
    nothing = np.zeros(0)
    return Observed(features, [], [], nothing, nothing, nothing, nothing)


def rows(seed, *shape):
    return np.random.default_rng(seed).normal(size=(*shape, 16))


@pytest.fixture(scope="module")
def training():
    return rows(0, 400)


@pytest.fixture(scope="module")
def reference():
    return seen(rows(1, 8, 1, 25))


def test_new_pictures_are_seldom_near(training, reference):
    fresh = copies(seen(rows(2, 8, 2, 50)), reference, training)
    assert 0.02 < fresh.value < 0.09
    assert fresh.table.shape == (8, 2) and fresh.interval().known


def test_copies_are_found_even_if_they_are_changed_a_little(training, reference):
    drawn = rows(3, 8, 2, 10)
    drawn[:, :, :5] = training[:80].reshape(8, 2, 5, 16) + 0.1 * rows(4, 8, 2, 5)
    assert copies(seen(drawn), reference, training).value >= 0.5


def test_nearest_is_the_largest_cosine_at_any_scale(training):
    points = rows(5, 2, 3)
    found = nearest(5.0 * points, training)
    for index in np.ndindex(2, 3):
        lengths = np.linalg.norm(training, axis=1) * np.linalg.norm(points[index])
        assert found[index] == pytest.approx((training @ points[index] / lengths).max())


def test_all_pictures_are_seen_in_groups_of_one_size_and_known_by_their_bytes(judge):
    records = [make_record(0, index, 16) for index in range(GROUP + 3)]
    pictures = TrainingPictures(records)
    assert pictures.groups == ("training 0", "training 1")
    cell = observe(pictures.source((8, 8)), Eye(judge.inspect).run(), pictures.groups, 0)
    assert cell.features.shape[:2] == (2, GROUP) and cell.shown.shape[2:4] == (8, 8)
    alone = judge.features(np.stack([pixels_of(record, (8, 8)) for record in records]))
    np.testing.assert_allclose(cell.features[1], alone[-GROUP:], atol=1e-4)
    assert TrainingPictures(records).metadata == pictures.metadata
    changed = [replace(records[0], image=records[1].image), *records[1:]]
    assert TrainingPictures(changed).metadata != pictures.metadata
    assert TrainingPictures(records[:5]).groups == ("training 0",)
    assert TrainingPictures([]).groups == ()


def test_a_workspace_gives_training_records_from_all_over(workspace):
    from pipelines.scenes.generate import write_scenes

    write_scenes(workspace, 60, seed=3, size=16, shard_size=20)
    keys = [record.key for record in training_records(workspace, 0)]
    everyone = [r.key for r in records_of(workspace.data_shards()) if r.meta["split"] == "train"]
    assert keys == everyone and 40 < len(keys) < 60
    for most in (10, 59, 60, 1000):
        some = [record.key for record in training_records(workspace, most)]
        assert len(some) == len(keys) * min(most, 60) // 60
        places = [keys.index(key) for key in some]
        assert max(np.diff(places), default=1) <= -(-60 // most)


def test_a_copy_is_seen_only_among_the_pictures_that_are_searched(training, reference):
    drawn = seen(training.reshape(8, 2, 25, 16))
    assert copies(drawn, reference, training).value == 1.0
    assert copies(drawn, reference, training[::25]).value < 0.15


def test_a_picture_as_near_as_the_reference_is_no_copy(training):
    same = seen(training[:40].reshape(4, 1, 10, 16))
    axes = np.eye(16)
    assert copies(seen(axes.reshape(2, 1, 8, 16)), seen(axes.reshape(2, 1, 8, 16)), axes).value == 0
    assert copies(same, seen(rows(1, 4, 1, 10)), training).value == 1.0


@pytest.mark.parametrize("count", [1, GROUP - 1, GROUP, GROUP + 3, 2 * GROUP, 2 * GROUP + 1])
def test_every_picture_is_in_a_group_of_the_same_size(count):
    records = [make_record(0, 0, 16)] * count
    numbered = [replace(record, key=f"r{n}") for n, record in enumerate(records)]
    groups = TrainingPictures(numbered)._groups
    assert {record.key for group in groups.values() for record in group} == {
        f"r{n}" for n in range(count)
    }
    assert {len(group) for group in groups.values()} == {min(count, GROUP)}
    assert len(groups) == max(1, -(-count // GROUP))
