"""Tell formats of pictures by their first bytes, and say what is wrong with a file of none."""

from __future__ import annotations

import io
import re
from functools import cache
from typing import Any

from pipelines.core.errors import BadRecord
from pipelines.core.inputs import LFS_POINTER

FORMATS = (
    *("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "AVIF", "TIFF", "JPEG2000", "ICO", "CUR"),
    *("ICNS", "DIB", "PSD", "QOI", "SGI", "SUN", "PCX", "DDS", "BLP", "MSP", "XBM", "XPM", "TGA"),
)
"""Formats that Pillow decodes by itself. Not among them: those that run another program (EPS), that
only recognise a file (HDF5, GRIB), that unpack without a limit (FITS), or that no magic number
tells apart (SPIDER)."""

_UNMARKED = ("PCX", "CUR", "SGI", "PPM", "TGA", "MSP", "BMP", "DIB")
"""Formats with a magic number of one or two bytes, which other files may begin with too."""

_UNSUPPORTED = re.compile(r"unknown|unsupported|not supported|cannot handle|unrecogni[sz]ed", re.I)


def is_image(head: bytes) -> bool:
    """Whether the first 16 bytes of a file are those of a picture, whatever its name."""
    return any(kind not in _UNMARKED for kind in _kinds(head[:16]))


def _kinds(data: bytes) -> list[str]:
    head = data[:16].ljust(16, b"\0")
    return [kind for kind, accept in _accepts().items() if accept(head) is True]


@cache
def _accepts() -> dict[str, Any]:
    from PIL import Image

    Image.init()
    return {kind: Image.OPEN[kind][1] for kind in FORMATS if Image.OPEN[kind][1]}


def unidentified(data: bytes, name: str) -> BadRecord:
    """Return the error of a file that Pillow does not open, in Pillow's words if it has any."""
    from PIL import Image

    if data.startswith(LFS_POINTER):
        why = "it is a git-lfs pointer, not the picture itself."
        return BadRecord(name, why, "Run `git lfs pull` there.")
    for kind in _kinds(data):
        try:
            Image.OPEN[kind][0](io.BytesIO(data), "")
        except Exception as error:
            return damaged(name, f"{kind} picture", error)
    return BadRecord(
        name,
        "it is not a picture of a known format (PNG, JPEG, WebP, AVIF, GIF, TIFF, BMP and others "
        "that Pillow reads).",
        "Convert it to PNG or JPEG.",
    )


def damaged(name: str, kind: str, error: Exception) -> BadRecord:
    """Return the error of a file that a decoder of Pillow refused."""
    words = str(error) or type(error).__name__
    if _UNSUPPORTED.search(words):
        why, hint = f"Pillow does not read this kind of {kind} ({words}).", "Convert it to PNG."
    else:
        why, hint = f"the {kind} is damaged ({words}).", "Replace it."
    return BadRecord(name, why, hint)
