"""Split PNG and JPEG files into the bytes that make the pixels and the metadata worth reading.

Pillow parses metadata before pixels, so an odd or a large block would cost a picture whose pixels
are sound: ComfyUI writes workflows of megabytes into PNG text, and cameras write EXIF that breaks
the standard. Only what decides the pixels is handed to the decoder here. Orientation and colour
profile are kept apart; the rest is dropped.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
JPEG_MAGIC = b"\xff\xd8\xff"
MAX_METADATA = 16 * 2**20
"""Largest compressed block of metadata that is unpacked, in bytes."""

MAX_SCANS = 64
"""Most scans of a progressive JPEG; encoders write about ten, and each one costs a full pass."""

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_RAW_EXIF = b"Raw profile type exif"
_PNG_XMP = b"XML:com.adobe.xmp"
_WEBP_ICC, _WEBP_EXIF, _WEBP_XMP = 0x20, 0x08, 0x04  # bits of VP8X
_COLOURS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
_TRANSPARENT = {0: (2,), 2: (6,), 3: range(1, 257)}
"""Colour type of a PNG -> the lengths that its tRNS chunk may have."""


@dataclass
class Parts:
    """A picture file taken apart.

    Attributes:
        pixels: A file of the same format without metadata.
        info: Metadata under Pillow's names: ``exif``, ``xmp``, ``icc_profile``…, and chunks
            of a PNG that say what its colours are: ``cicp``, ``srgb``, ``gama``, ``chrm``.
        animated: Whether further frames were dropped.
        scans: Scans of a progressive JPEG; 1 for anything else.
    """

    pixels: bytes
    info: dict[str, Any] = field(default_factory=dict)
    animated: bool = False
    scans: int = 1


def split_image(data: bytes) -> Parts:
    """Take a PNG or a JPEG apart; any other file is returned whole. Never raises."""
    if data.startswith(PNG_MAGIC):
        return _split_png(data)
    if data.startswith(JPEG_MAGIC):
        return _split_jpeg(data)
    return Parts(data)


def without_metadata(data: bytes) -> bytes:
    """Return a PNG, JPEG or WebP without metadata, its pixels untouched; other files as they are.

    Also without a colour profile: only for pictures whose profile changes nothing.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return split_image(data).pixels
    kept = [data[8:12]]
    for name, start, end in _riff_chunks(data):
        if name == b"VP8X":
            flags = data[start + 8] & ~(_WEBP_ICC | _WEBP_EXIF | _WEBP_XMP)
            kept.append(data[start : start + 8] + bytes([flags]) + data[start + 9 : end])
        elif name not in (b"ICCP", b"EXIF", b"XMP "):
            kept.append(data[start:end])
    body = b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def exif_of(data: bytes) -> bytes:
    """Return the EXIF block of a PNG, JPEG or WebP; empty if it has none."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        blocks = (data[at + 8 : end] for name, at, end in _riff_chunks(data) if name == b"EXIF")
        return next(blocks, b"")
    return bytes(split_image(data).info.get("exif", b""))


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk of a WebP; chunks have an even length."""
    at = 12
    while at + 8 < len(data):
        name, length = struct.unpack_from("<4sI", data, at)
        end = min(at + 8 + length + length % 2, len(data))
        yield name, at, end
        at = end


def _split_png(data: bytes) -> Parts:
    parts, kept, colours = Parts(b""), [PNG_MAGIC], -1
    for name, start, end in _chunks(data):
        body = data[start + 8 : end - 4]
        if name == b"IHDR" and len(body) == 13:
            colours = body[9]
        if not name[0] & 0x20:  # upper case: the pixels cannot be decoded without it
            kept.append(data[start:end])
        elif name == b"tRNS":
            if len(body) in _TRANSPARENT.get(colours, ()) and _is_intact(data, start, end):
                kept.append(data[start:end])
        elif name == b"eXIf":
            parts.info["exif"] = body
        elif name == b"acTL":
            parts.animated = True
        elif name == b"iCCP":
            _, _, packed = body.partition(b"\0")
            parts.info["icc_profile"] = _unpack(packed[1:])
        elif name in _COLOURS and _is_intact(data, start, end):
            parts.info[name.decode().lower()] = body
        elif name in (b"tEXt", b"zTXt", b"iTXt"):
            _take_text(name, body, parts.info)
    parts.pixels = b"".join(kept)
    return parts


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of each chunk; the last one may be cut off."""
    at = len(PNG_MAGIC)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        end = min(at + 12 + length, len(data))
        yield name, at, end
        if name == b"IEND":
            break
        at = end


def _is_intact(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def _take_text(name: bytes, body: bytes, info: dict[str, Any]) -> None:
    keyword, _, text = body.partition(b"\0")
    if keyword == _RAW_EXIF:
        if name == b"iTXt":
            return
        text = text if name == b"tEXt" else _unpack(text[1:])
        info[_RAW_EXIF.decode()] = text.decode("latin-1")
    elif keyword == _PNG_XMP and name == b"iTXt" and len(text) >= 2:
        packed, rest = bool(text[0]), text[2:].split(b"\0", 2)
        if len(rest) == 3:
            info["xmp"] = _unpack(rest[2]) if packed else rest[2]


def _unpack(packed: bytes) -> bytes:
    """Decompress a block; return nothing if it is damaged or too large."""
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(packed, MAX_METADATA)
    except zlib.error:
        return b""
    return b"" if unpacker.unconsumed_tail else text


def _split_jpeg(data: bytes) -> Parts:
    parts, kept, profile = Parts(b""), [data[:2]], []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if marker == 0xFF or 0xD0 <= marker <= 0xD8 or marker == 0x01:  # padding, or no segment
            kept.append(data[at : at + 1] if marker == 0xFF else data[at : at + 2])
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA or length < 2 or end > len(data):
            break
        body = data[at + 4 : end]
        if marker == 0xE1 and body.startswith(_EXIF):
            parts.info.setdefault("exif", body)
        elif marker == 0xE1 and body.startswith(_XMP):
            parts.info.setdefault("xmp", body[len(_XMP) :])
        elif marker == 0xE2 and body.startswith(_ICC):
            profile.append(body[len(_ICC) :])
        elif marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            kept.append(data[at:end])  # JFIF and Adobe decide the colours
        at = end
    kept.append(data[at:])
    parts.pixels = b"".join(kept)
    parts.scans = _count_scans(data, at)
    if profile:
        # The first two bytes are the block's number and the number of blocks.
        parts.info["icc_profile"] = b"".join(block[2:] for block in sorted(profile))
    return parts


def _count_scans(data: bytes, start: int) -> int:
    end = data.find(b"\xff\xd9", start)  # in a scan, 0 or a restart marker follows every 0xFF
    return data.count(b"\xff\xda", start, end if end >= 0 else len(data))
