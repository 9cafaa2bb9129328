"""Decoding images that strangers made, without being harmed by them."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

from pipelines.core.errors import BadRecord, KaleidoError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


def open_image(data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image to 8-bit RGB.

    Alpha is laid over white, CMYK and greyscale are converted, 16-bit is scaled (not clipped) to
    8-bit, and EXIF rotation is applied. The size is checked before anything is decoded.

    Args:
        data: The encoded image.
        name: What to call it in an error.
        max_pixels: Largest accepted width times height.

    Returns:
        An RGB image.

    Raises:
        BadRecord: If the bytes are empty, not one of `FORMATS`, damaged, or too large.
        KaleidoError: If memory or a part of Pillow is missing.
    """
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise BadRecord(name, "the image file is empty.", "Remove it or replace it.")
    try:
        with warnings.catch_warnings():
            # Our own limit, checked below, stands in for Pillow's bomb warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > max_pixels:
                raise BadRecord(
                    name,
                    f"the image has {width} x {height} pixels; the limit is {max_pixels:,}.",
                    "Make it smaller.",
                )
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except BadRecord:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(FORMATS)
        raise BadRecord(
            name, f"the file is not an image of a known format ({known}).", "Replace it."
        ) from error
    except Image.DecompressionBombError as error:
        raise BadRecord(name, str(error), "Make it smaller.") from error
    except (MemoryError, ImportError) as error:  # the machine's fault, not the image's
        raise KaleidoError(
            name,
            f"it cannot be decoded on this machine ({type(error).__name__}: {error}).",
            "Free memory, or install Pillow again; then run the command again.",
        ) from error
    except Exception as error:  # Pillow's decoders raise many kinds on damaged bytes
        raise BadRecord(
            name, f"the image cannot be read ({type(error).__name__}: {error}).", "Replace it."
        ) from error
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode != "F" else max(float(values.max(initial=0.0)), 1e-12)
        image = Image.fromarray(np.clip(values / top * 255.0 + 0.5, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(paper, image)
    return image.convert("RGB")


def decode_image(data: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Like `open_image`, but returns uint8 (height, width, 3)."""
    import numpy as np

    return np.asarray(open_image(data, name, max_pixels))


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode uint8 (height, width, 3) RGB as PNG; equal pixels give equal bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
