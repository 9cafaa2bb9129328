"""Convert decoded pictures of any mode and colour profile to 8-bit sRGB."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from pipelines.core.colour_spaces import CREATOR
from pipelines.core.errors import BadRecord

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF

PLAIN_MODES = ("RGB", "L", "1", "P")
"""Modes that hold 8-bit RGB or grey."""

SRGB_TOLERANCE = 2
"""A profile is taken for sRGB's own if it moves no colour by more levels of 255."""


def to_rgb(image: Image.Image, profile: bytes, name: str) -> tuple[Image.Image, bool]:
    """Convert a decoded picture to 8-bit sRGB over white.

    Args:
        image: Of any mode.
        profile: Its ICC profile; empty for sRGB.
        name: What to call it in an error.

    Returns:
        The picture, and whether its pixels were 8-bit sRGB or grey already.

    Raises:
        BadRecord: If its values have no range.
    """
    plain = image.mode in PLAIN_MODES and "transparency" not in image.info
    if image.mode.startswith("I") or image.mode == "F":
        image = _to_8_bits(image, name)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        alpha = image.getchannel("A")
        colours, same = _to_srgb(image.convert("RGB"), profile)
        paper = Image.new("RGB", image.size, (255, 255, 255))
        return Image.composite(colours, paper, alpha), False
    colours, same = _to_srgb(image, profile)
    return colours, plain and same


def _to_8_bits(image: Image.Image, name: str) -> Image.Image:
    """Scale 16-bit values by 1/257, and 32-bit and float values by their finite range."""
    values = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    is_integer = image.format == "TIFF" and image.mode == "I"
    if (
        is_integer
        and tags.get(_SAMPLE_FORMAT, (1,)) in (1, (1,))
        and tags.get(_BITS, (32,)) in (32, (32,))
    ):
        values = values.view(np.uint32)  # unsigned, which Pillow has no mode for
    if image.mode.startswith("I;16") or (image.format == "PPM" and image.mode == "I"):
        low, high = 0.0, 65535.0
    else:
        finite = values[np.isfinite(values)]
        if not len(finite):
            raise BadRecord(name, "none of its values is finite.", "Save it with 8 bits.")
        low, high = float(finite.min()), float(finite.max())
        if low == high:
            raise BadRecord(
                name, f"all its values are {low:g}, so they have no range.", "Save it with 8 bits."
            )
    values = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = (values / (high - low) - low / (high - low)) * 255.0
    if tags.get(_PHOTOMETRIC) == 0:  # white is 0, which Pillow heeds up to 8 bits
        scaled = 255.0 - scaled
    grey = Image.fromarray(np.clip(scaled + 0.5, 0, 255).astype(np.uint8))
    clear = image.info.get("transparency")  # a level of 16 bits
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: Image.Image, profile: bytes) -> tuple[Image.Image, bool]:
    """Convert to RGB by a colour profile; also return whether it left the colours as they were."""
    mode = image.mode if image.mode in ("L", "RGB", "CMYK", "LAB") else "RGB"
    if mode == "L" and profile[80:84] == CREATOR:
        mode = "RGB"  # whose three curves are those of grey too
    source = image if image.mode == mode else image.convert(mode)
    transform = _srgb_transform(profile, mode) if profile else None
    if transform is None:
        return source.convert("RGB"), True
    return transform.apply(source), False


@lru_cache(16)
def _srgb_transform(profile: bytes, mode: str) -> Any:
    """Build the transform of a colour profile to sRGB.

    Returns:
        None if the profile cannot be used for this mode, or is that of sRGB.
    """
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    if mode not in ("L", "RGB"):
        return transform
    levels = np.linspace(0, 255, 6).astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(36, 6, 3)
    probe = Image.fromarray(grid).convert(mode)
    before = np.asarray(probe.convert("RGB")).astype(int)
    after = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int)
    return None if np.abs(after - before).max() <= SRGB_TOLERANCE else transform
