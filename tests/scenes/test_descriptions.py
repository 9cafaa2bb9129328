"""Descriptions say everything about a scene, in any wording."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pipelines.scenes.descriptions import describe_scene, read_description
from pipelines.scenes.factors import Scene, SceneObject, sample_scene

SCENE = Scene(
    (
        SceneObject("star", "red", "plain", "small", 0.3, 0.3, 0.13, 0.0),
        SceneObject("star", "blue", "striped", "large", 0.7, 0.7, 0.2, 10.0),
    ),
    "diagonal",
    "fog",
)


def test_the_truth_has_one_wording() -> None:
    assert describe_scene(SCENE) == (
        "a small red plain star at the top left; a large blue striped star at the bottom right; "
        "arranged as diagonal; on fog."
    )


def test_facts_are_read_back() -> None:
    assert read_description(describe_scene(SCENE)) == Counter(
        {
            ("shape", "star"): 2,
            ("size", "star", "small"): 1,
            ("size", "star", "large"): 1,
            ("colour", "star", "red"): 1,
            ("colour", "star", "blue"): 1,
            ("texture", "star", "plain"): 1,
            ("texture", "star", "striped"): 1,
            ("place", "star", "top", "left"): 1,
            ("place", "star", "bottom", "right"): 1,
            ("arrangement", "diagonal"): 1,
            ("background", "fog"): 1,
        }
    )


@pytest.mark.parametrize("text", ["", "a star", "a large red cow at the top left", "on the moon."])
def test_what_states_nothing_reads_as_nothing(text) -> None:
    assert not read_description(text)


def test_every_wording_states_the_same() -> None:
    texts = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        scene = sample_scene(rng)
        worded = describe_scene(scene, rng)
        assert read_description(worded) == read_description(describe_scene(scene)), worded
        texts.add(describe_scene(SCENE, rng))
    assert 20 < len(texts) <= 3 * 3**2  # frames, and wordings of two objects
