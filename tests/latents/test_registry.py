"""The registry of kinds."""

from __future__ import annotations

import pytest

from pipelines.latents.registry import KINDS, latent_class
from pipelines.latents.text import DEFAULT_ORDER, LatentError


def test_kinds_are_registered_in_their_order():
    assert tuple(KINDS) == DEFAULT_ORDER
    assert all(cls.kind == kind and latent_class(kind) is cls for kind, cls in KINDS.items())


def test_an_unknown_kind_offers_the_nearest():
    with pytest.raises(LatentError) as caught:
        latent_class("box")
    assert caught.value.code == "bad-latent" and "'boxes'" in caught.value.hint
