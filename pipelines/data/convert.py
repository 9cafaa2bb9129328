"""Turning what strangers captioned into records: every source of images does it alike."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from pipelines.core.errors import BadRecord
from pipelines.core.images import encode_png, open_image
from pipelines.core.record import Record
from pipelines.core.seeds import derive
from pipelines.workspace.manifest import RowOutcome
from pipelines.workspace.settings import DataSettings

MAX_BYTES = 200_000_000
"""Largest image file that is read."""

MIN_PIXELS = 2
"""Fewest pixels of a picture: a single pixel, such as a tracker on a web page, shows nothing."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
UNREADABLE = (".heic", ".heif", ".avif", ".jxl", ".svg", ".psd", ".jp2", ".tga", ".ico")
"""Images by their name, of kinds that we do not decode: recorded as failed."""

HELDOUT_SHARE = 10
"""One image in so many is held out."""


class Keys:
    """Makes unique keys from paths: the path itself where it is safe, else with a short hash."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def make(self, name: str) -> str:
        """Return a key for the path `name`, its suffix left out."""
        path = PurePosixPath(name)
        stem = str(path.with_suffix("")) if path.name else name
        ascii_only = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
        # A word that begins with a dash would be an option on a command line.
        safe = re.sub(r"[^A-Za-z0-9_-]+", "-", ascii_only).lstrip("-")[:60] or "record"
        key, changed, repeat = safe, safe != stem, 0
        while changed or key in self._used:
            mark = f"{name}\0{repeat}".encode("utf-8", "surrogatepass")
            key = f"{safe}-{hashlib.sha256(mark).hexdigest()[:10]}"
            changed, repeat = False, repeat + 1
        self._used.add(key)
        return key


def to_record(
    key: str,
    name: str,
    data: bytes,
    caption: str,
    source: str,
    settings: DataSettings,
    licence: str = "unknown",
) -> Record:
    """Decode an image and make it a record of the workspace's size.

    Args:
        key: The record's key.
        name: What to call the image, in errors and in the record.
        data: The encoded image.
        caption: Clean, see `pipelines.data.caption_files.clean_caption`.
        source: Where it comes from: ``folder``, ``webdataset``.
        settings: ``data.image_size``.
        licence: The image's.

    Raises:
        BadRecord: If the image cannot be read.
    """
    # By the file's bytes: all captions of an image, and all its copies, are on one side.
    split = split_of(hashlib.sha256(data).hexdigest())
    meta = {
        "source": source,
        "file": plain(name),
        "licence": licence,
        "split": split,
    }
    image = open_image(data, name)
    if image.width * image.height < MIN_PIXELS:
        raise BadRecord(name, f"the image has 1 x 1 pixels; at least {MIN_PIXELS} are needed.")
    return Record(key, encode_png(square(image, settings.image_size)), caption, meta)


def split_of(unit: str) -> str:
    """The split, ``train`` or ``heldout``, of everything that shares `unit`."""
    return "heldout" if derive(0, "split", unit) % HELDOUT_SHARE == 0 else "train"


def attempt(key: str, name: str, make: Callable[[], Record]) -> Record | RowOutcome:
    """Make a record; an image or caption that cannot be used gives a failed row with the reason."""
    try:
        return make()
    except BadRecord as error:
        return RowOutcome(key, "failed", plain(f"{name}: {error.why}"))


def square(image: Image.Image, size: int) -> np.ndarray:
    """Crop to the central square and resize with antialiasing: uint8 (size, size, 3)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: resize(box=...) would let the pixels outside of the box bleed into the edge.
    centre = image.crop((left, top, left + side, top + side))
    return np.asarray(centre.resize((size, size), Image.Resampling.BICUBIC))


def plain(text: str) -> str:
    """Replace what is not UTF-8 in a name."""
    return text.encode("utf-8", "replace").decode()


def hash_file(path: Path) -> str:
    """SHA-256 of a file that `read_image` would read; else the reason why not."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return "not read"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        return f"unreadable: {error}"


def read_image(path: Path) -> bytes:
    """Read an image file's bytes.

    Raises:
        BadRecord: If it is missing, no plain file, too large, or cannot be read.
    """
    try:
        if not path.exists():
            raise BadRecord(path.name, "the image does not exist.")
        if not path.is_file():
            raise BadRecord(path.name, "it is not a plain file.")
        if path.stat().st_size > MAX_BYTES:
            raise BadRecord(path.name, f"the file is over {MAX_BYTES:,} bytes.")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise BadRecord(path.name, f"the file cannot be read ({error}).") from error
