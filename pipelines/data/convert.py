"""Turn a picture and a caption from any source into a record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import BadRecord
from pipelines.core.image_parts import without_metadata
from pipelines.core.images import decode, encode_jpeg, encode_png
from pipelines.core.inputs import is_there
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.data.fit import fit_image, fits, target_size
from pipelines.workspace.manifest import RowOutcome
from pipelines.workspace.settings import DataSettings
from pipelines.workspace.shards import image_extension

MAX_BYTES = 200_000_000
"""Largest image file that is read."""

MIN_PIXELS = 2
"""Fewest pixels of a picture: a single pixel, such as a tracker on a web page, shows nothing."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff") + (
    *(".jfif", ".jpe", ".pjpeg", ".pjp", ".apng", ".avif", ".ppm", ".pgm", ".pbm", ".pnm"),
    *(".jp2", ".j2k", ".qoi", ".ico", ".tga", ".psd", ".dds", ".pcx", ".sgi", ".rgb", ".ras"),
    *(".dib", ".pam", ".pfm", ".msp", ".xbm", ".xpm", ".icns", ".cur", ".blp"),
)
"""Usual suffixes of pictures. Others count as pictures if their first bytes are those of one."""

NAMED = 80
"""Twice as many characters of a name are printed, at most."""

LONGEST = 255
"""Longest name of a file, in characters."""

UNREADABLE = (".heic", ".heif", ".jxl", ".svg", ".cr2", ".nef", ".arw", ".dng")
"""Suffixes of pictures that Pillow does not decode: recorded as failed, with this reason."""

HELDOUT_SHARE = 10
"""One image in so many is held out."""


def options_of(settings: DataSettings) -> dict[str, Any]:
    """Return the settings that records of every source depend on."""
    options = {
        "image_size": settings.image_size,
        "fit": settings.fit,
        "max_caption": settings.max_caption,
    }
    # Named only where they matter, so that data of before these settings stay up to date.
    if not settings.image_size:
        options["max_pixels"] = settings.max_pixels
    if settings.metadata != "keep":
        options["metadata"] = settings.metadata
    return options


def to_record(
    key: str,
    name: str,
    data: bytes,
    caption: str,
    source: str,
    settings: DataSettings,
    licence: str = "unknown",
) -> Record:
    """Decode a picture and make it a record.

    A PNG, JPEG or WebP that already has the right size is stored as it is, byte for byte, unless
    it has an alpha channel, several frames or more than 8 bits. Other pictures become PNG, without
    metadata; a JPEG that is reduced to ``data.max_pixels`` stays a JPEG. So does one whose
    metadata are stripped, unless an orientation or a colour profile among them has to be applied.

    Args:
        key: The record's key.
        name: What to call the picture, in errors and in the record.
        data: The encoded picture.
        caption: Clean, see `pipelines.data.caption_files.clean_caption`.
        source: Where it comes from: ``folder``, ``webdataset``.
        settings: ``data.image_size``, ``data.fit``, ``data.max_pixels``, ``data.metadata``.
        licence: The picture's.

    Raises:
        BadRecord: If the picture cannot be read.
    """
    decoded = decode(data, name)
    width, height = decoded.image.size
    if width * height < MIN_PIXELS:
        raise BadRecord(name, f"the image has 1 x 1 pixels; at least {MIN_PIXELS} are needed.")
    meta = {
        "source": source,
        "file": plain(name),
        "licence": licence,
        # By the file's bytes: all captions of a picture, and all its copies, are on one side.
        "split": split_of(hashlib.sha256(data).hexdigest()),
        "original_size": [width, height],
    }
    strip, size = settings.metadata == "strip", target_size((width, height), settings)
    fitting = fits((width, height), size, settings.fit)
    if not (fitting and (decoded.verbatim if strip else decoded.keepable)):
        image = fit_image(decoded.image, size, settings.fit)
        photograph = image_extension(data) == "jpg" and not settings.image_size and not fitting
        data = encode_jpeg(image) if photograph else encode_png(np.asarray(image))
    elif strip:
        data = without_metadata(data)
    return Record(key, data, caption, meta)


def original_size(meta: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the width and height that a record's picture came with, if the record names them."""
    size = meta.get("original_size")
    return (size[0], size[1]) if size else None


def split_of(unit: str) -> str:
    """Return the split, ``train`` or ``heldout``, of everything that shares `unit`."""
    return "heldout" if derive(0, "split", unit) % HELDOUT_SHARE == 0 else "train"


def attempt(key: str, name: str, make: Callable[[], Record]) -> Record | RowOutcome:
    """Make a record; a picture or caption that cannot be used gives a failed row with a reason."""
    try:
        return make()
    except BadRecord as error:
        return RowOutcome(key, "failed", plain(f"{shorten(name)}: {error.why}"))


def shorten(name: str) -> str:
    """Return a name for people; what stands in its place may be a whole picture in base64."""
    return name if len(name) <= 2 * NAMED else f"{name[:NAMED]}…{name[-NAMED // 2 :]}"


def plain(text: str) -> str:
    """Replace what is not UTF-8 in a name."""
    return text.encode("utf-8", "replace").decode()


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file that `read_image` would read, or else why it would not."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return "not read"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return f"unreadable: {error}"


def _missing(path: Path) -> str:
    longest = max(map(len, path.parts), default=0)
    if longest <= LONGEST:
        return "the image does not exist."
    return f"it is no path, but {longest:,} characters; pictures themselves are read from Parquet."


def read_image(path: Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        BadRecord: If it is missing, no plain file, too large, or cannot be read.
    """
    try:
        if not is_there(path):
            raise BadRecord(path.name, _missing(path))
        if not path.is_file():
            raise BadRecord(path.name, "it is not a plain file.")
        if path.stat().st_size > MAX_BYTES:
            raise BadRecord(path.name, f"the file is over {MAX_BYTES:,} bytes.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadRecord(path.name, f"the file cannot be read ({error}).") from error
