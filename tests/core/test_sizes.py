"""Sizes on disk."""

from __future__ import annotations

from pipelines.core.sizes import bytes_in


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
