"""Tiny bases, saved once for all tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pipelines.bases.base import Base, load_base
from tests.bases.tiny_pipelines import save


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function from a family's name to the folder of its tiny base, not to be changed."""

    @cache
    def folder(family: str) -> Path:
        return save(family, tmp_path_factory.mktemp("bases") / family)

    return folder


@pytest.fixture(scope="session")
def loaded(base_folder) -> Callable[[str], Base]:
    """Return a function from a family's name to its loaded tiny base, not to be changed."""

    @cache
    def load(family: str) -> Base:
        return load_base(str(base_folder(family)))

    return load
