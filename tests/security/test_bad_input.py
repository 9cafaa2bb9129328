"""What strangers put into a folder of images: converted, or failed with a reason; never a crash."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.files import sha256_file
from pipelines.data.folder import write_folder
from pipelines.workspace.shards import read_records
from pipelines.workspace.status import status
from pipelines.workspace.workspace import Workspace

RED = (200, 30, 30)


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_bomb(width: int, height: int) -> bytes:
    """A few bytes that claim to be a huge image."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def sixteen_bits() -> bytes:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    return encode(Image.fromarray(values))


CONVERTED = {
    "cmyk.jpg": encode(Image.new("CMYK", (30, 30), (0, 255, 255, 0)), "JPEG"),
    "alpha.png": encode(Image.new("RGBA", (30, 30), (0, 0, 0, 0))),
    "sixteen.png": sixteen_bits(),
    "grey.png": encode(Image.new("L", (30, 30), 128)),
    "one-bit.png": encode(Image.new("1", (30, 30), 1)),
    "palette.gif": encode(Image.new("P", (30, 30), 3), "GIF"),
    "wrong-name.png": encode(Image.new("RGB", (30, 30), RED), "JPEG"),
    "tiny.webp": encode(Image.new("RGB", (2, 2), RED), "WEBP", lossless=True),
    "thin.png": encode(Image.new("RGB", (1, 3000), RED)),
}
REFUSED = {
    "empty.png": (b"", "empty"),
    "text.png": (b"this is no image", "known format"),
    "cut.png": (
        encode(Image.effect_noise((64, 64), 50))[:800],
        "is damaged (image file is truncated)",
    ),
    "dot.gif": (encode(Image.new("RGB", (1, 1), RED), "GIF"), "at least 2 are needed"),
    "bomb.png": (png_bomb(60_000, 60_000), "exceeds limit"),
    "small-bomb.png": (png_bomb(9_000, 9_000), "the limit is 64,000,000"),
    "script.png": (b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\nshowpage", "known format"),
}
CAPTIONS_REFUSED = {
    "c-empty": (b"", "the caption is empty"),
    "c-blank": (b" \n\t ", "the caption is empty"),
    "c-long": (b"word " * 10_000, "the limit is 2,000"),
    "c-huge": (b"x" * 3_000_000, "over 1,000,000 bytes"),
    "c-latin": ("café".encode("latin-1"), "not UTF-8"),
}
CAPTIONS_KEPT = {
    "c-markup": "<script>alert('x')</script> [red]a & b[/red] %s {0} ../.. \u202e",
    "c-bars": "a | b # c (1, 2, 3, 4) <500>",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "strange"
    root.mkdir()
    for name, data in CONVERTED.items():
        (root / name).write_bytes(data)
        (root / name).with_suffix(".txt").write_text("a sound caption")
    for name, (data, _) in REFUSED.items():
        (root / name).write_bytes(data)
        (root / name).with_suffix(".txt").write_text("a sound caption")
    sound = encode(Image.new("RGB", (8, 8), RED))
    for stem, (data, _) in CAPTIONS_REFUSED.items():
        (root / f"{stem}.png").write_bytes(sound)
        (root / f"{stem}.txt").write_bytes(data)
    for stem, text in CAPTIONS_KEPT.items():
        (root / f"{stem}.png").write_bytes(sound)
        (root / f"{stem}.txt").write_text(text, encoding="utf-8")
    return root


def records_of(workspace: Workspace) -> dict[str, object]:
    return {record.key: record for path in workspace.data_shards() for record in read_records(path)}


def test_each_is_converted_or_failed_with_key_and_reason(workspace, folder):
    summary = write_folder(workspace, folder)
    expected = {name.rpartition(".")[0]: reason for name, (_, reason) in REFUSED.items()}
    expected |= {stem: reason for stem, (_, reason) in CAPTIONS_REFUSED.items()}
    found = dict(summary.failures)
    assert set(found) == set(expected)
    for key, reason in expected.items():
        assert reason in found[key]
    converted = {name.rpartition(".")[0] for name in CONVERTED}
    assert set(records_of(workspace)) == converted | set(CAPTIONS_KEPT)
    listed = {row["key"]: row["reason"] for row in status(workspace)["data"]["failures"]}
    assert listed == found


def test_conversion_keeps_what_the_image_shows(workspace, folder):
    write_folder(workspace, folder)
    pixels = {key: record.pixels.astype(int) for key, record in records_of(workspace).items()}
    sizes = {key: image.shape[:2] for key, image in pixels.items()}
    assert (sizes["alpha"], sizes["tiny"], sizes["thin"]) == ((30, 30), (2, 2), (3000, 1))
    assert (pixels["alpha"] == 255).all()
    assert np.abs(pixels["grey"] - 128).max() <= 1
    red, green, blue = pixels["cmyk"].reshape(-1, 3).mean(0)
    assert red > 200
    assert max(green, blue) < 60
    grey = pixels["sixteen"][..., 0]
    assert grey[0].mean() < 10
    assert 120 < grey[32].mean() < 136
    assert grey[-1].mean() > 245
    assert (pixels["thin"] == RED).all()


def test_markup_stays_data(workspace, folder):
    write_folder(workspace, folder)
    records = records_of(workspace)
    assert {key: records[key].caption for key in CAPTIONS_KEPT} == CAPTIONS_KEPT


def test_the_command_goes_on_and_exits_0(folder, tmp_path):
    workspace = Workspace.init(tmp_path / "workspace")
    before = {path: sha256_file(path) for path in folder.iterdir()}
    done = run("data", "folder", str(folder), "--json", workspace=workspace)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["ok"] == len(CONVERTED) + len(CAPTIONS_KEPT)
    assert counts["failed"] == len(REFUSED) + len(CAPTIONS_REFUSED)
    shown = json.loads(run("status", "--json", workspace=workspace).stdout)
    assert "bomb" in {row["key"] for row in shown["data"]["failures"]}
    assert "bomb" in run("data", "folder", str(folder), workspace=workspace).stdout
    assert {path: sha256_file(path) for path in folder.iterdir()} == before


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_devices_and_loops_do_not_hang(workspace, folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.png").symlink_to("/dev/zero")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "up").symlink_to(folder, target_is_directory=True)
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "c-markup-2.txt")
    for stem in ("pipe", "zero", "loop", "folder"):
        (folder / f"{stem}.txt").write_text("a caption")
    found = dict(write_folder(workspace, folder).failures)
    assert "not a plain file" in found["pipe"]
    assert "not a plain file" in found["zero"]
    assert "loop" in found


def test_a_caption_that_is_a_pipe_does_not_hang(workspace, folder):
    (folder / "c-markup.txt").unlink()
    os.mkfifo(folder / "c-markup.txt")
    found = dict(write_folder(workspace, folder).failures)
    assert "not a plain file" in found["c-markup"]


def test_names_that_are_not_utf8_or_steer_the_terminal(tmp_path):
    root = tmp_path / "named"
    root.mkdir()
    for name in (b"caf\xe9", b"esc\x1b[31mred", b"new\nline"):
        path = os.fsencode(root) + b"/" + name
        with open(path + b".png", "wb") as file:
            file.write(b"no image")
        with open(path + b".txt", "wb") as file:
            file.write(b"a caption")
    workspace = Workspace.init(tmp_path / "workspace")
    done = run("data", "folder", str(root), workspace=workspace)
    assert done.returncode == 3, done.stderr
    assert "3 failed" in done.stdout
    assert "\x1b" not in done.stdout


def run(*arguments: str, workspace: Workspace) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "kaleido_cli", *arguments, "--workspace", str(workspace.root)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
