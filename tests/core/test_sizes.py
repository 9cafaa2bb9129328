"""Sizes on disk."""

from __future__ import annotations

from pipelines.core.sizes import bytes_in


def test_links_count_as_themselves(tmp_path):
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"12345")
    (folder / "inner" / "b").write_bytes(b"123")
    assert bytes_in(folder / "a") == 5
    assert bytes_in(folder) == 8
    assert bytes_in(tmp_path / "nowhere") == 0
    (tmp_path / "large").write_bytes(bytes(10_000))
    (folder / "link").symlink_to(tmp_path / "large")
    (folder / "inner" / "broken").symlink_to(tmp_path / "nowhere")
    assert 8 < bytes_in(folder) < 1_000
