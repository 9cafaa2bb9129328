"""Statistics of shards: ranges, and what each kind of latent reports."""

from __future__ import annotations

import pytest

from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import Description
from pipelines.latents.items import MOST_LABELS
from pipelines.latents.palette import Palette
from pipelines.latents.tokens import Tokens
from pipelines.workspace.statistics import (
    latent_statistics,
    merge,
    read_ranges,
    write_ranges,
)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([0], "0"), ([0, 1, 2, 5, 7, 8], "0-2 5 7-8"), (list(range(1000)), "0-999")],
)
def test_ranges_are_short_and_come_back(numbers, text) -> None:
    assert write_ranges(numbers) == text
    assert read_ranges(text) == numbers


def test_kinds_report_what_training_must_know() -> None:
    boxes = [Boxes((Box(label, 0, 0, 9, 9),)) for label in ("star", "heart", "star")]
    tokens = [Tokens(2, 2, size, (0, 1, 2, 3)) for size in (8, 16, 8)]
    texts = [Description(text) for text in ("a sky", "a longer sky", "one")]
    found = {
        kind: latent_statistics(kind, [0, 1, 3], latents)
        for kind, latents in (("boxes", boxes), ("tokens", tokens), ("description", texts))
    }
    assert found == {
        "boxes": {"rows": "0-1 3", "labels": ["heart", "star"]},
        "tokens": {"rows": "0-1 3", "shapes": [[2, 2, 8], [2, 2, 16]]},
        "description": {"rows": "0-1 3", "longest": ["a longer sky"]},
    }
    assert latent_statistics("palette", [0], list[Palette]()) == {"rows": "0"}


def test_shards_of_free_labels_report_the_longest() -> None:
    boxes = [Boxes((Box("x" * (1 + at % 60) + str(at), 0, 0, 9, 9),)) for at in range(1500)]
    labels = latent_statistics("boxes", range(1500), boxes)["labels"]
    assert len(labels) == MOST_LABELS
    longest = max(len(box.items[0].label) for box in boxes)
    assert max(map(len, labels)) == longest


def test_statistics_of_shards_are_united() -> None:
    parts = [
        {"rows": "0-1", "labels": ["a", "b"], "shapes": [[2, 2, 8]]},
        {"rows": "5", "labels": ["b", "c"], "shapes": [[2, 2, 8]]},
    ]
    assert merge(parts) == {"labels": ["a", "b", "c"], "shapes": [[2, 2, 8]]}
