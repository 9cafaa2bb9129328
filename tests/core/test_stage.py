"""A stage's set-up fails with its name, not with a library's error alone."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.stage import Stage, StageSpec, set_up


class _Broken(Stage):
    spec = StageSpec("broken", 1, "boxes")

    def __init__(self, error: Exception) -> None:
        self.error = error

    def setup(self) -> None:
        raise self.error

    def __call__(self, records):
        return []


def test_a_librarys_error_is_named() -> None:
    with pytest.raises(
        KaleidoError, match=r"extract boxes: broken could.*OSError: no file.*doctor"
    ):
        set_up(_Broken(OSError("no file")))


def test_an_error_of_ours_stays_as_it_is() -> None:
    ours = KaleidoError("weights", "they are damaged.", "Fetch them again.")
    with pytest.raises(KaleidoError) as raised:
        set_up(_Broken(ours))
    assert raised.value is ours
