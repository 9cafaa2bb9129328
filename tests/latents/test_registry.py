"""The registry of kinds."""

from __future__ import annotations

import pytest

from pipelines.latents.base import LatentError
from pipelines.latents.registry import KINDS, latent_class
from pipelines.latents.sequence import DEFAULT_ORDER


def test_kinds_are_named_after_their_classes():
    assert tuple(KINDS) == DEFAULT_ORDER
    assert all(cls.kind == kind and latent_class(kind) is cls for kind, cls in KINDS.items())


def test_an_unknown_kind_offers_the_nearest():
    with pytest.raises(LatentError, match="'boxes'"):
        latent_class("box")
