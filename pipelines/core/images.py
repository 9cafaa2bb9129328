"""Decode pictures of unknown origin safely, and encode our own."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.core.colour_spaces import declared_profile
from pipelines.core.errors import BadRecord, KaleidoError
from pipelines.core.image_parts import MAX_SCANS, Parts, exif_of, split_image
from pipelines.core.picture_formats import FORMATS, damaged, unidentified

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_PIXELS = 64_000_000

MAX_SIDE = 65_535
"""Longest side, that of JPEG: of a line of millions of pixels nothing can be resized or learnt."""

STORED = ("PNG", "JPEG", "WEBP")
"""Formats that a shard may hold."""

_BITS, _PLANES = 258, 284  # tags of TIFF
_TURNS = ("", "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM") + (
    *("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"),
)
"""EXIF orientation 1 to 8 -> the transposition that undoes it."""


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Attributes:
        image: RGB, upright, in sRGB.
        verbatim: Whether any reader decodes the file's own bytes to these pixels: it is of a format
            in `STORED`, 8-bit sRGB, without alpha, orientation or further frames.
        keepable: Whether the file's own bytes may stand in a shard. Orientation and colours do not
            matter, because they are applied whenever the picture is read: as PNG, a photograph
            would take five times the room.
    """

    image: Image.Image
    verbatim: bool
    keepable: bool


def open_image(
    data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS, least: int = 0
) -> Image.Image:
    """Decode a picture to 8-bit RGB; see `decode`."""
    return decode(data, name, max_pixels, least).image


def decode_image(data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Like `open_image`, but return uint8 (height, width, 3)."""
    import numpy as np

    return np.asarray(open_image(data, name, max_pixels))


def decode(
    data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS, least: int = 0
) -> Decoded:
    """Decode the first frame of a picture to 8-bit RGB.

    Alpha is composited over white. Colours are converted to sRGB if the file names others, 16-bit
    values are scaled to 8 bits, 32-bit and float values by their finite range, and the orientation
    in the metadata is applied. Metadata that cannot be read is ignored. The size is checked before
    anything is decoded.

    Args:
        data: The encoded picture; its format is told by its content.
        name: What to call it in an error.
        max_pixels: Largest accepted width times height.
        least: Pixels a side that suffice: a larger JPEG may be decoded at a half, a quarter or an
            eighth of its size, which takes as little of the time. 0 asks for all.

    Raises:
        BadRecord: If the bytes are empty, damaged, too large, or not of one of `FORMATS`.
        KaleidoError: If memory or a part of Pillow is missing.
    """
    from PIL import Image

    from pipelines.core.to_rgb import PLAIN_MODES, to_rgb

    if not data:
        raise BadRecord(name, "the image file is empty.", "Remove it or replace it.")
    parts = split_image(data)
    if parts.scans > MAX_SCANS:
        raise BadRecord(
            name, f"the JPEG has {parts.scans} scans; the limit is {MAX_SCANS}.", "Save it again."
        )
    try:
        with warnings.catch_warnings():
            # Remarks on odd metadata; our own limit replaces the warning about bombs.
            warnings.simplefilter("ignore")
            image = _load(parts, name, max_pixels, least)
            kind, animated = image.format, parts.animated or getattr(image, "is_animated", False)
            exif = _exif(image)
            profile = declared_profile(image.info, exif)
            plain = image.mode in PLAIN_MODES and "transparency" not in image.info
            rgb, same = to_rgb(image, profile, name)
            turn = _orientation(image, exif)
    except KaleidoError:
        raise
    except Image.DecompressionBombError as error:
        raise BadRecord(name, str(error), "Make it smaller.") from error
    except (MemoryError, ImportError) as error:  # the machine's fault, not the picture's
        raise KaleidoError(
            name,
            f"it cannot be decoded on this machine ({type(error).__name__}: {error}).",
            "Free memory, or install Pillow again; then run the command again.",
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds on damaged bytes
        raise damaged(name, "picture", error) from error
    if turn:
        rgb = rgb.transpose(Image.Transpose[turn])
    keepable = plain and not animated and kind in STORED
    return Decoded(rgb, keepable and same and not turn, keepable)


def picture_size(data: bytes, name: str = "image") -> tuple[int, int]:
    """Read width and height of a picture, upright, from its header.

    Raises:
        BadRecord: If it is not a picture.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in `decode`
            parts = split_image(data)
            image = Image.open(io.BytesIO(parts.pixels), formats=STORED)
            image.info.update(parts.info)
            turn = _orientation(image, _exif(image))
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises at a damaged header
        raise damaged(name, "picture", error) from error
    width, height = image.size
    swapped = turn.startswith(("ROTATE_90", "ROTATE_270", "TRANS"))
    return (height, width) if swapped else (width, height)


def _load(parts: Parts, name: str, max_pixels: int, least: int) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        image: Any = Image.open(io.BytesIO(parts.pixels), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise unidentified(parts.pixels, name) from error
    width, height = image.size
    if width * height > max_pixels:
        raise BadRecord(
            name,
            f"the image has {width} x {height} pixels; the limit is {max_pixels:,}.",
            "Make it smaller.",
        )
    if max(width, height) > MAX_SIDE:
        why = f"the image has {width} x {height} pixels; the longest side is {MAX_SIDE:,}."
        raise BadRecord(name, why, "Cut it.")
    if image.format == "TIFF":
        image.load_end = lambda: None  # it reads EXIF, which must not cost the pixels
        if image.tag_v2.get(_PLANES) == 2 and 16 in image.tag_v2.get(_BITS, ()):
            why = "it is a TIFF with 16 bits and apart colours, which Pillow mixes up."
            raise BadRecord(name, why, "Convert it to PNG.")
    if least and image.format == "JPEG" and image.mode in ("L", "RGB"):
        image.draft(image.mode, (least, least))
    image.load()
    image.info.update(parts.info)
    return image


def names_place(data: bytes) -> bool:
    """Whether the EXIF of a PNG, JPEG or WebP says where the picture was taken (GPS)."""
    from PIL import Image

    if not (block := exif_of(data)):
        return False
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as in `decode`
            tags.load(block)
            return bool(tags.get_ifd(0x8825))
    except Exception:  # whatever odd bytes make Pillow raise
        return False


def _exif(image: Any) -> Any:
    """Return a picture's EXIF; None if it cannot be read."""
    try:
        return image.getexif()
    except Exception:  # whatever odd bytes make Pillow raise: the pixels count
        return None


def _orientation(image: Any, exif: Any) -> str:
    """Return the name of the transposition that sets a picture upright; empty if none is needed."""
    try:
        value = (image.tag_v2 if image.format == "TIFF" else exif).get(0x0112, 1)
    except Exception:  # whatever odd bytes make Pillow raise: the pixels count
        return ""
    return _TURNS[value - 1] if value in range(1, 9) else ""


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 (height, width, 3) RGB as PNG; equal pixels give equal bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def encode_jpeg(image: Image.Image) -> bytes:
    """Encode an RGB picture as JPEG of high quality, without losing colour resolution."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()
