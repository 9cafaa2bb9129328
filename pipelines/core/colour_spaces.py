"""Colour profiles of pictures that name their colours in another way than by an ICC profile.

PNG has the chunks cICP, sRGB, gAMA and cHRM, which count in this order (PNG, third edition, section
4.3); cameras name Adobe RGB in EXIF alone (DCF 2.0). Each is turned into a small ICC profile, so
that one path converts all of them to sRGB.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

Point = tuple[float, float]
"""Chromaticity x, y."""

D65: Point = (0.3127, 0.3290)
_D50 = (0.9642, 1.0, 0.8249)  # the white of profiles, as XYZ

BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
ADOBE = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060))
_PRIMARIES = {
    1: BT709,
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
}
"""Code of cICP (ITU-T H.273) -> red, green and blue; their white is D65."""

CREATOR = b"kldo"
"""The creator that the profiles built here name; an embedded one is that of another program."""

_SRGB_GAMMA = 1 / 2.2
"""What gAMA says of sRGB, which is no power law."""

_LEVELS = 1024
"""Samples of a profile's curve."""


def declared_profile(info: Mapping[Any, Any], exif: Any) -> bytes:
    """Return the ICC profile of a picture's colours, whichever way they are named.

    Args:
        info: What the file says: ``icc_profile``, and a PNG's chunks ``cicp``, ``srgb``, ``gama``
            and ``chrm`` as bytes.
        exif: Its EXIF, or None.

    Returns:
        Empty if nothing is said, or only what leaves sRGB as it is. Luminance that needs tone
        mapping (PQ, HLG) is not converted.
    """
    video = _of_cicp(info.get("cicp", b""))
    if video is not None:
        return video
    profile = info.get("icc_profile")
    if isinstance(profile, bytes) and profile:
        return profile
    if len(info.get("srgb", b"")) == 1:
        return b""
    gamma, chromaticities = info.get("gama", b""), info.get("chrm", b"")
    if len(gamma) == 4 or len(chromaticities) == 32:
        return _of_gamma(gamma, chromaticities)
    return _profile(ADOBE, D65, _power(563 / 256)) if _is_adobe(exif) else b""


def _of_cicp(body: bytes) -> bytes | None:
    """Return the profile of a cICP chunk; None if it says nothing that can be used."""
    if len(body) != 4 or body[2] != 0 or body[3] != 1:  # RGB over the full range
        return None
    primaries, curve = _PRIMARIES.get(body[0]), _CURVES.get(body[1])
    if primaries is None or curve is None:
        return None
    return b"" if (body[0], body[1]) == (1, 13) else _profile(primaries, D65, curve)


def _of_gamma(gamma: bytes, chromaticities: bytes) -> bytes:
    """Return the profile of gAMA and cHRM; a missing one is that of sRGB."""
    exponent = int.from_bytes(gamma, "big") / 100_000 if len(gamma) == 4 else _SRGB_GAMMA
    white, primaries = D65, BT709
    if len(chromaticities) == 32:
        values = [number / 100_000 for number in struct.unpack(">8I", chromaticities)]
        white, *found = zip(values[::2], values[1::2], strict=True)
        primaries = (found[0], found[1], found[2])
    if not 0.1 <= exponent <= 2:
        return b""
    is_srgb = abs(exponent - _SRGB_GAMMA) < 0.01
    return _profile(primaries, white, _from_srgb if is_srgb else _power(1 / exponent))


def _is_adobe(exif: Any) -> bool:
    """Whether EXIF names Adobe RGB: by its colour space, or as an uncalibrated one of DCF."""
    try:
        space = exif.get_ifd(0x8769).get(0xA001)
        index = exif.get_ifd(0xA005).get(1, "") if space == 0xFFFF else ""
    except Exception:  # whatever odd bytes make Pillow raise: the pixels count
        return False
    text = index.decode("latin-1") if isinstance(index, bytes) else str(index)
    return space == 2 or text.startswith("R03")


def _power(gamma: float) -> Callable[[float], float]:
    def curve(value: float) -> float:
        return value**gamma

    return curve


def _from_srgb(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def _from_bt709(value: float) -> float:
    return value / 4.5 if value < 0.081 else ((value + 0.099) / 1.099) ** (1 / 0.45)


_CURVES: dict[int, Callable[[float], float]] = {
    **dict.fromkeys((1, 6, 14, 15), _from_bt709),
    4: _power(2.2),
    5: _power(2.8),
    8: _power(1.0),
    13: _from_srgb,
}
"""Code of cICP (ITU-T H.273) -> from a stored value to light, both from 0 to 1."""


@lru_cache(16)
def _profile(
    primaries: tuple[Point, Point, Point], white: Point, curve: Callable[[float], float]
) -> bytes:
    """Build an ICC profile (version 4) of three primaries and one curve; empty if none fits."""
    columns = _to_d50(primaries, white)
    if columns is None:
        return b""
    samples = [round(65535 * curve(level / (_LEVELS - 1))) for level in range(_LEVELS)]
    tone = b"curv" + bytes(4) + struct.pack(f">I{_LEVELS}H", _LEVELS, *samples)
    name = "declared".encode("utf-16-be")
    text = b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(name), 28) + name
    tags = {b"desc": text, b"cprt": text, b"wtpt": b"XYZ " + bytes(4) + _fixed(*_D50)}
    for letter, column in zip(b"rgb", columns, strict=True):
        tags[bytes([letter]) + b"XYZ"] = b"XYZ " + bytes(4) + _fixed(*column)
        tags[bytes([letter]) + b"TRC"] = tone
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        table += tag + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI", start + len(body), bytes(4), 0x04300000) + b"mntrRGB XYZ "
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(*_D50) + CREATOR
    return head.ljust(128, b"\0") + table + body


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _to_d50(
    primaries: tuple[Point, Point, Point], white: Point
) -> list[tuple[float, float, float]] | None:
    """Return the XYZ of each primary, adapted to D50 by Bradford; None if they span no colours."""
    import numpy as np

    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    try:
        xyz = np.array([(x / y, 1.0, (1 - x - y) / y) for x, y in primaries]).T
        target = np.array([white[0] / white[1], 1.0, (1 - white[0] - white[1]) / white[1]])
        columns = xyz * np.linalg.solve(xyz, target)
        ratio = (bradford @ np.array(_D50)) / (bradford @ target)
        adapted = np.linalg.solve(bradford, ratio[:, None] * (bradford @ columns))
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 4:
        return None
    return [(float(x), float(y), float(z)) for x, y, z in adapted.T]
