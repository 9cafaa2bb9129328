"""What strangers' bytes must not do: one function for each kind of file, with bytes to begin from.

A target returns if all is well. An error that Kaleido reports is well; any other exception is a
fault, as is a promise that does not hold: pixels that decode are never lost, and every row of a
table is a caption or a reason.
"""

from __future__ import annotations

import atexit
import io
import json
import pickle
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipelines.core.colour_spaces import declared_profile
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.image_parts import split_image, without_metadata
from pipelines.core.images import decode_image, names_place
from pipelines.data.caption_table import read_table
from pipelines.data.tars import read_index
from pipelines.data.webdataset import read_rows
from pipelines.documents.dialects.base import Context
from pipelines.documents.dialects.registry import DIALECTS
from pipelines.extract.detectors.checkpoint import find_checkpoint
from pipelines.models.safe_folder import require_safe_folder
from pipelines.workspace.shards import read_records

CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"gAMA", b"cHRM", b"sRGB", b"cICP", b"pHYs")
CHUNKS += (b"tIME", b"bKGD", b"hIST", b"sPLT", b"acTL", b"fcTL", b"fdAT", b"tRNS", b"xxXx", b"caBX")
TABLES = ("captions.csv", "captions.tsv", "captions.jsonl")
MODEL_FILES = (
    *("config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"),
    *("tokenizer_config.json", "generation_config.json", "vocab.txt", "chat_template.jinja"),
)


class Target(NamedTuple):
    """A function that takes any bytes, and inputs to vary."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]


def pixels() -> np.ndarray:
    """A small picture whose pixels all differ."""
    return np.random.default_rng(7).integers(0, 256, (6, 5, 3), np.uint8)


@cache
def encoded(kind: str) -> bytes:
    """That picture as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels()).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


@cache
def scratch() -> Path:
    """A folder for the files of this process, removed with it."""
    folder = Path(tempfile.mkdtemp(prefix="kaleido-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def same_pixels(data: bytes, kind: str) -> None:
    """Check that a picture decodes to the pixels of `encoded`, turned or not."""
    found, wanted = decode_image(data), decode_image(encoded(kind))
    assert sorted(found.shape) == sorted(wanted.shape), "the shape is another"
    exif = Image.Exif()
    with suppress(Exception):
        exif.load(split_image(data).info.get("exif"))
    if not declared_profile(split_image(data).info, exif):
        rows = (sorted(map(tuple, each.reshape(-1, 3).tolist())) for each in (found, wanted))
        assert next(rows) == next(rows), "pixels are lost"
        assert decode_image(without_metadata(data)).size == wanted.size


def exif(data: bytes) -> None:
    """Any EXIF block before sound pixels."""
    block = b"Exif\0\0" + data[:60_000]
    jpeg, png = encoded("JPEG"), encoded("PNG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    for picture, kind in (
        (jpeg[:2] + segment + jpeg[2:], "JPEG"),
        (png[:33] + chunk(b"eXIf", block[6:]) + png[33:], "PNG"),
    ):
        same_pixels(picture, kind)
        names_place(picture)


def chunk(name: bytes, body: bytes, wrong: bool = False) -> bytes:
    """A chunk of a PNG, on request with a wrong checksum."""
    checksum = zlib.crc32(name + body) ^ wrong
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def chunks(data: bytes) -> None:
    """Any ancillary chunks before sound pixels; three bytes say which, and how long each is."""
    extra = b""
    while len(data) > 3:
        which, how, length = data[0], data[1], data[2]
        extra += chunk(CHUNKS[which % len(CHUNKS)], data[3 : 3 + length], wrong=how % 4 == 0)
        data = data[3 + length :]
    png = encoded("PNG")
    found = split_image(png[:33] + extra + png[33:])
    if b"tRNS" in found.pixels:
        return  # transparent pixels are white, as they should be
    same_pixels(png[:33] + extra + png[33:], "PNG")


def picture(data: bytes) -> None:
    """Any bytes as a picture."""
    with suppress(BadRecord):
        assert decode_image(data, max_pixels=100_000).ndim == 3
    names_place(data)
    without_metadata(data)


def captions(data: bytes) -> None:
    """Any bytes as a caption table; the first one says of which format."""
    path = scratch() / TABLES[data[0] % 3 if data else 0]
    body = (
        data[1:]
        if path.suffix == ".jsonl"
        else b"file,caption\n".replace(b",", b"\t" if path.suffix == ".tsv" else b",") + data[1:]
    )
    path.write_bytes(body)
    try:
        rows = list(read_table(path))
    except KaleidoError:
        return
    assert all(row.reason or (row.file and row.captions) for row in rows), "a row says nothing"
    if path.suffix == ".jsonl" and not body.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = io.TextIOWrapper(io.BytesIO(body), "utf-8-sig", "surrogateescape", newline="")
        assert len(rows) == sum(bool(line.strip()) for line in text), "a line has no row"
    elif path.suffix != ".jsonl" and b'"' not in body and not body[13:].startswith(b"\xff\xfe"):
        lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[1:]
        assert len(rows) == sum(bool(line) for line in lines), "a line has no row"


def tar(data: bytes) -> None:
    """Any bytes as a stranger's tar, and as one of our shards."""
    path = scratch() / "000000.tar"
    path.write_bytes(data)
    with suppress(KaleidoError):
        for row in read_rows(path, read_index(path)):
            assert row.problem or row.image, "a row says nothing"
    with suppress(KaleidoError):
        list(read_records(path))


def model(data: bytes) -> None:
    """Any bytes as a file of a model's folder; the first one says which."""
    folder = scratch() / "model"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / MODEL_FILES[data[0] % len(MODEL_FILES) if data else 0]).write_bytes(data[1:])
    with suppress(KaleidoError):
        require_safe_folder(folder)


def checkpoint(data: bytes) -> None:
    """Any bytes as a checkpoint of ultralytics, and as the pickle in one."""
    path = scratch() / "model.pt"
    for content in (data, archive(data)):
        path.write_bytes(content)
        for trusted in (False, True):
            with suppress(KaleidoError):
                find_checkpoint(path, trusted)


def archive(data: bytes) -> bytes:
    """An archive as torch writes it, with these bytes as its pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("model/data.pkl", data)
        file.writestr("model/version", "3\n")
    return buffer.getvalue()


def document(data: bytes) -> None:
    """Any bytes as a document of each format; the first one says of which."""
    names = sorted(DIALECTS)
    form = DIALECTS[names[data[0] % len(names) if data else 0]]
    form.read(data[1:], Context("fuzz", 64, 48, {0: "cat"}))


def _exif_seeds() -> list[bytes]:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x8825] = 6, "maker", {1: "N", 2: (48.0, 51.0, 29.0)}
    tags.get_ifd(0x8769)[0xA001] = 2
    return [tags.tobytes()[6:], b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"]


def _chunk_seeds() -> list[bytes]:
    bodies = [
        b"key\0text",
        b"key\0\0" + zlib.compress(b"text"),
        b"key\0\1\0\0\0" + b"x",
        b"\0\0\xb1\x8f",
    ]
    return [bytes([number % 20, 1, len(body)]) + body for number, body in enumerate(bodies * 5)]


def _tar_seeds() -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name, body in (("a.png", encoded("PNG")), ("a.txt", b"a cat"), ("b" * 120, b"x")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            file.addfile(member, io.BytesIO(body))
    return [buffer.getvalue(), buffer.getvalue()[:2000]]


def _model_seeds() -> list[bytes]:
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    weights = struct.pack("<Q", len(header)) + header + bytes(4)
    index = json.dumps({"weight_map": {"w": "model.safetensors"}}).encode()
    lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    bodies = [b'{"num_layers": 2}', weights, index, b'{"model": {}}', lfs, b"[[[[", b"{{ x }}"]
    return [bytes([number]) + body for number, body in enumerate(bodies)]


def _captions_seeds() -> list[bytes]:
    return [
        b'\0a.png,a cat\nb.png,"two, dogs"\n',
        b"\1a.png\ta cat\n",
        b'\2{"file": "a.png", "caption": ["one", "two"]}\n',
    ]


TARGETS = {
    "exif": Target(exif, _exif_seeds),
    "chunks": Target(chunks, _chunk_seeds),
    "picture": Target(
        picture, lambda: [*map(encoded, ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"))]
    ),
    "captions": Target(captions, _captions_seeds),
    "tar": Target(tar, _tar_seeds),
    "model": Target(model, _model_seeds),
    "checkpoint": Target(
        checkpoint, lambda: [pickle.dumps({"model": [1.0, "x"]}, protocol) for protocol in (0, 2)]
    ),
    "document": Target(
        document, lambda: [bytes([number]) + b'{"elements": []}' for number in range(len(DIALECTS))]
    ),
}
"""Name -> target; each is also run on its seeds by the tests."""
