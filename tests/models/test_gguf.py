"""GGUF files whose header asks for more than they hold."""

from __future__ import annotations

import struct

import pytest

from pipelines.core.errors import KaleidoError
from pipelines.models.gguf import require_safe_gguf
from pipelines.models.hub import model_identity
from tests.extract.gguf_model import write_gguf


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def header(tensors: int, entries: int, *parts: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + b"".join(parts)


def test_a_sound_file_passes(tmp_path):
    write_gguf(tmp_path / "a.gguf")
    require_safe_gguf(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GGML" + bytes(40),
        header(0, 1, text(b"llama.block_count"), struct.pack("<II", 4, 1_000_000)),
        header(0, 1, text(b"llama.block_count"), struct.pack("<I", 8), text(b"many")),
        header(1, 0, text(b"w"), struct.pack("<IQQ", 2, 2**40, 2**20), bytes(12)),
        header(1, 0, text(b"w"), struct.pack("<I", 2**31)),
        header(2**60, 0),
        header(0, 2**60),
        header(0, 1, text(b"a"), struct.pack("<IIQ", 9, 4, 2**60)),
        header(0, 1, struct.pack("<Q", 2**60)),
        header(0, 1, text(b"a"), struct.pack("<I", 99)),
        header(0, 1, text(b"a"), *[struct.pack("<IIQ", 9, 9, 1)] * 9),
        header(0, 3, text(b"a")),
    ],
)
def test_what_asks_for_too_much_is_refused_before_it_is_unpacked(tmp_path, content):
    path = tmp_path / "a.gguf"
    path.write_bytes(content)
    with pytest.raises(KaleidoError) as caught:
        model_identity(path)
    assert (caught.value.code, caught.value.what) == ("bad-model", str(path))
