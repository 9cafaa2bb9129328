"""Numbers of bytes: as people write them, and on disk."""

from __future__ import annotations

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.sizes import bytes_in, parse_bytes


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


def test_bytes_on_disk_with_and_without_what_links_name(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"12345")
    (folder / "inner" / "b").write_bytes(b"123")
    assert bytes_in(folder / "a", follow_links=True) == 5
    for follow in (True, False):
        assert bytes_in(folder, follow) == 8
        assert bytes_in(tmp_path / "nowhere", follow) == 0
    (tmp_path / "large").write_bytes(bytes(10_000))
    (folder / "link").symlink_to(tmp_path / "large")
    (folder / "inner" / "broken").symlink_to(tmp_path / "nowhere")
    assert bytes_in(folder, follow_links=True) == 10_008
    assert 8 < bytes_in(folder, follow_links=False) < 1_000
