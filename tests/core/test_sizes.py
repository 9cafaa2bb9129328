"""Numbers of bytes as people write them."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.sizes import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("800", 800),
        ("800 B", 800),
        ("50GB", 50 * 10**9),
        ("50 g", 50 * 10**9),
        ("1.5GiB", 3 * 2**29),
        (" 2kB ", 2000),
        ("3TB", 3 * 10**12),
    ],
)
def test_what_people_write(text, size):
    assert parse_bytes(text, "size") == size


@pytest.mark.parametrize("text", ["", "0", "0.2", "-5GB", "much", "5 PB", "5GBs", "1e9", "nan"])
def test_anything_else_is_refused(text):
    with pytest.raises(KaleidoError, match="no number of bytes") as caught:
        parse_bytes(text, "setting 'x'")
    assert caught.value.what == "setting 'x'"
