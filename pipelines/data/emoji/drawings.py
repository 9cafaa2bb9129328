"""Read concepts and their drawings by several artists: SVG icon sets and emojibase's names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.data.emoji.packages import Package, fetch, read_json


@dataclass(frozen=True)
class Style:
    """One artist's set.

    Attributes:
        name: Short name, for keys and ``--styles``.
        package: An icon set in Iconify's JSON.
        coded: Whether the set maps code points to icons; if not, icons are found by name.
    """

    name: str
    package: Package
    coded: bool = True


@dataclass(frozen=True)
class Concept:
    """The meaning of an emoji.

    Attributes:
        code: Its code points in hexadecimal, joined by ``-``, without the variation selector.
        label: Its name.
        tags: Related words.
    """

    code: str
    label: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """A concept in a style.

    Attributes:
        concept: The concept that is drawn.
        style: Name of the style.
        svg: The drawing.
        licence: Its SPDX identifier.
        credit: The author and the address to credit.
    """

    concept: Concept
    style: str
    svg: str
    licence: str
    credit: str

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{self.concept.code}-{self.style}"


LABELS = Package(
    "emojibase-data",
    "17.0.0",
    "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)

STYLES = (
    Style(
        "noto",
        Package(
            "@iconify-json/noto",
            "1.2.9",
            "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        ),
    ),
    Style(
        "fluent",
        Package(
            "@iconify-json/fluent-emoji-flat",
            "1.2.6",
            "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        ),
    ),
    Style(
        "twemoji",
        Package(
            "@iconify-json/twemoji",
            "1.2.5",
            "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        ),
    ),
    Style(
        "openmoji",
        Package(
            "@iconify-json/openmoji",
            "1.2.29",
            "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        ),
    ),
    Style(
        "emojione",
        Package(
            "@iconify-json/emojione",
            "1.2.3",
            "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        ),
        coded=False,
    ),
)

LEAST_STYLES = 3
"""Concepts drawn in fewer styles are left out; if fewer are chosen, all of them are needed."""

_COMPONENTS = 2
"""emojibase's group of hair and skin tones, which are not concepts."""


def read_concepts(tarball: Path) -> list[Concept]:
    """Read all concepts in Unicode order, without skin tones."""
    rows = [row for row in read_json(tarball, "en/data.json") if "group" in row]
    rows.sort(key=lambda row: row["order"])
    return [
        Concept(_code(row["hexcode"]), row["label"], tuple(row.get("tags", ())))
        for row in rows
        if row["group"] != _COMPONENTS
    ]


def read_drawings(folder: Path, labels: Package, styles: Sequence[Style]) -> list[Drawing]:
    """Read the drawings of concepts that at least `LEAST_STYLES` of the styles contain.

    Args:
        folder: Folder of the packages; missing ones are downloaded to it.
        labels: emojibase's data.
        styles: The styles, without repeats.

    Returns:
        The drawings, grouped by concept.

    Raises:
        KaleidoError: If a package cannot be fetched or read.
    """
    concepts = read_concepts(fetch(labels, folder))
    sets = [IconSet(style, fetch(style.package, folder)) for style in styles]
    least = min(len(styles), LEAST_STYLES)
    drawings = []
    for concept in concepts:
        found = [drawn for icons in sets if (drawn := icons.drawing(concept))]
        drawings += found if len(found) >= least else []
    return drawings


class IconSet:
    """A style's icons, in Iconify's JSON.

    Args:
        style: The style.
        tarball: Its package.
    """

    def __init__(self, style: Style, tarball: Path) -> None:
        self._style = style
        self._icons: Mapping[str, Any] = read_json(tarball, "icons.json")
        info = read_json(tarball, "info.json")
        self._licence = info["license"]["spdx"]
        self._credit = f"{info['author']['name']} ({info['author']['url']})"
        codes = read_json(tarball, "chars.json") if style.coded else {}
        self._names = {_code(code): name for code, name in codes.items()}

    def drawing(self, concept: Concept) -> Drawing | None:
        """Return this style's drawing of a concept, if there is one."""
        slug = _slug(concept.label)
        by_name = [slug, slug.replace("flag-", "flag-for-", 1)]
        names = [self._names.get(concept.code, "")] if self._style.coded else by_name
        icon = next((found for name in names if (found := self._icon(name))), None)
        if icon is None:
            return None
        svg = _document(icon, self._icons)
        return Drawing(concept, self._style.name, svg, self._licence, self._credit)

    def _icon(self, name: str) -> Mapping[str, Any] | None:
        alias = self._icons.get("aliases", {}).get(name, {})
        if set(alias) - {"parent", "hidden"}:
            return None  # rotated or mirrored: not the same picture
        icon: Mapping[str, Any] | None = self._icons["icons"].get(alias.get("parent", name))
        return icon


def _document(icon: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    left, top, width, height = (
        icon.get(name, defaults.get(name, usual))
        for name, usual in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    side = max(width, height)  # the whole icon, centred in a square
    left, top = left - (side - width) / 2, top - (side - height) / 2
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left:g} {top:g} {side:g} {side:g}">{icon["body"]}</svg>'
    )


def _code(text: str) -> str:
    return "-".join(part for part in text.lower().split("-") if part != "fe0f")


def _slug(label: str) -> str:
    letters = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", letters.replace("'", "").replace("&", "and")).strip("-")
