"""z that comes back from its documents unedited gives the same picture, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipelines.documents.projection import document_of
from pipelines.latents.sequence import z_from_text
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw, draw_from_z
from pipelines.sample.requests import read_requests
from pipelines.workspace.settings import SampleSettings

CAPTION = "two circles and a star"
KINDS = ("description", "boxes", "blobs", "tokens", "palette")


def drawn_twice(kinds: Sequence[str], count: int) -> None:
    """Draw samples, write their z as lines of documents, read these, and draw again."""
    bundle = load_bundle(None).drawing(kinds)
    options = SampleSettings(n=count, cfg=7.5, steps=2, seed=7, batch_size=16)
    first = list(draw(bundle, CAPTION, options))
    documents = [document_of(z_from_text(s.z), CAPTION, s.pixels.shape[:2]) for s in first]
    data = "\n".join(document.to_json() for document in documents).encode()
    asked = read_requests(data, "z.z.jsonl", bundle.z_kinds).items
    assert [(each.caption, each.index) for each in asked] == [(CAPTION, n) for n in range(count)]
    second = draw_from_z(bundle, CAPTION, [each.z for each in asked], options)
    for one, other in zip(first, second, strict=True):
        assert z_from_text(one.z) == z_from_text(other.z)
        assert one.pixels.tobytes() == other.pixels.tobytes(), one.index
    assert len({sample.pixels.tobytes() for sample in first}) > count / 2


@pytest.mark.parametrize("kinds", [KINDS, ("boxes", "palette")])
def test_unedited_documents_give_the_same_bytes(kinds: Sequence[str]) -> None:
    drawn_twice(kinds, 3)


@pytest.mark.slow
def test_unedited_documents_give_the_same_bytes_over_five_hundred_seeds() -> None:
    drawn_twice(KINDS, 500)
