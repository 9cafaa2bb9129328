"""A package that is missing is named with its extra."""

from __future__ import annotations

import json

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra


def test_an_installed_module_is_returned():
    assert import_extra("json", "hub") is json


def test_a_missing_one_is_named_with_its_extra():
    with pytest.raises(KaleidoError) as caught:
        import_extra("no_such_package", "emoji")
    assert (caught.value.code, caught.value.what) == ("not-installed", "no-such-package")
    assert "[emoji]" in caught.value.hint
