"""OKLab, a perceptually uniform colour space.

Source: Björn Ottosson, "A perceptual color space for image processing", 2020, with his matrices of
2021-01-25 (linear sRGB, D65). IEC 61966-2-1 gives the sRGB transfer function.
"""

from __future__ import annotations

import numpy as np

_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def srgb_to_oklab(srgb: np.ndarray) -> np.ndarray:
    """Convert sRGB in [0, 1] to OKLab.

    Args:
        srgb: Float (..., 3).

    Returns:
        Float (..., 3): L in [0, 1]; a and b within about ±0.32 for colours in the sRGB gamut.
    """
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    lab: np.ndarray = np.cbrt(linear @ _RGB_TO_LMS.T) @ _LMS_TO_LAB.T
    return lab


def oklab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """Convert OKLab, float (..., 3), to sRGB, clipped to [0, 1]."""
    linear: np.ndarray = np.clip((lab @ _LAB_TO_LMS.T) ** 3 @ _LMS_TO_RGB.T, 0.0, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def hex_to_oklab(colour: str) -> np.ndarray:
    """Convert ``#rrggbb`` to OKLab, float (3,).

    Raises:
        ValueError: If the text is not ``#`` and six hexadecimal digits.
    """
    if len(colour) != 7 or colour[0] != "#" or any(c not in _HEX_DIGITS for c in colour[1:]):
        raise ValueError(f"{colour!r} is not a colour like #ff8000.")
    return srgb_to_oklab(np.frombuffer(bytes.fromhex(colour[1:]), dtype=np.uint8) / 255.0)


def oklab_to_hex(lab: np.ndarray) -> str:
    """Convert OKLab, float (3,), to ``#rrggbb``."""
    levels = np.rint(oklab_to_srgb(lab) * 255).astype(int).tolist()
    return "#" + bytes(levels).hex()


_HEX_DIGITS = frozenset("0123456789abcdefABCDEF")
