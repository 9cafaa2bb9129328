"""Tiny bases, loaded once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from pipelines.bases.base import Base, load_base


@pytest.fixture(scope="session")
def loaded(base_folder) -> Callable[[str], Base]:
    """Return a function from a family's name to its loaded tiny base, not to be changed."""

    @cache
    def load(family: str) -> Base:
        return load_base(str(base_folder(family)))

    return load
