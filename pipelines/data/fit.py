"""Bring pictures of any shape to the size of the data, and count what that costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from pipelines.workspace.settings import DataSettings


def target_size(shape: tuple[int, int], settings: DataSettings) -> int:
    """Return the size to which `fit_image` brings a picture.

    Args:
        shape: Its width and height.
        settings: ``image_size``, which is returned unless it is 0; else ``fit`` and ``max_pixels``.

    Returns:
        The long side of a picture whose shape is kept, or the side of a square, in pixels.
    """
    if settings.image_size:
        return settings.image_size
    side = min(shape) if settings.fit == "crop" else max(shape)
    area = shape[0] * shape[1] if settings.fit == "keep" else side * side
    if area <= settings.max_pixels:
        return side
    return max(1, int(side * (settings.max_pixels / area) ** 0.5))


def fit_image(image: Image.Image, size: int, fit: str) -> Image.Image:
    """Resize an RGB picture with antialiasing.

    Args:
        image: Of any shape.
        size: From `target_size`, in pixels.
        fit: ``pad`` scales the long side to `size` and fills the square with the median colour of
            the picture's border; ``crop`` scales the central square; ``keep`` reduces the long
            side to `size` if it is longer, and leaves the shape.
    """
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # Cropped first: resize(box=...) would let pixels outside of the box bleed into the edge.
        centre = image.crop((left, top, left + side, top + side))
        return centre.resize((size, size), Image.Resampling.BICUBIC)
    longest = max(image.size)
    if fit == "keep" and longest <= size:
        return image
    shape = [max(1, round(side * size / longest)) for side in image.size]
    scaled = image.resize((shape[0], shape[1]), Image.Resampling.BICUBIC)
    if fit == "keep" or scaled.size == (size, size):
        return scaled
    square = Image.new("RGB", (size, size), border_colour(scaled))
    square.paste(scaled, ((size - scaled.width) // 2, (size - scaled.height) // 2))
    return square


def fits(shape: tuple[int, int], size: int, fit: str) -> bool:
    """Whether `fit_image` leaves a picture of this width and height as it is."""
    return max(shape) <= size if fit == "keep" else shape == (size, size)


def border_colour(image: Image.Image) -> tuple[int, int, int]:
    """Return the median of each channel over the outermost pixels of an RGB picture.

    Not their mean: a cut-out on white that touches an edge would get bars of a colour that it does
    not have.
    """
    pixels = np.asarray(image, np.float64)
    edges = [pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]
    red, green, blue = (int(value) for value in np.median(np.concatenate(edges), axis=0))
    return red, green, blue


@dataclass
class FitCounts:
    """What fitting did to the records that a run wrote.

    Attributes:
        pictures: Records written.
        reshaped: Records whose picture was cropped or padded.
        share: Mean over the reshaped ones: the part of the picture that was cut away, or the part
            of the square that is padding; from 0 to 1.
        reduced: Records whose picture had more than ``data.max_pixels``.
    """

    pictures: int = 0
    reshaped: int = 0
    share: float = 0.0
    reduced: int = 0

    def add(self, width: int, height: int, fit: str, max_pixels: int = 0) -> None:
        """Count a picture of this original size; `max_pixels` is 0 where a size was set."""
        self.pictures += 1
        self.reduced += bool(max_pixels and width * height > max_pixels)
        if width != height and fit != "keep":
            # The same share for both: of the picture's area, or of the square's.
            part = 1.0 - min(width, height) / max(width, height)
            self.reshaped += 1
            self.share += (part - self.share) / self.reshaped

    def describe(self, fit: str, size: int, max_pixels: int = 0) -> list[str]:
        """Return sentences for people, on what was reduced and what was reshaped."""
        lines = []
        if self.reduced:
            lines.append(
                f"{self.reduced:,} of {self.pictures:,} pictures were reduced to {max_pixels:,} "
                "pixels (data.max_pixels)"
            )
        return [*lines, self._reshaped(fit, size)] if self.reshaped else lines

    def _reshaped(self, fit: str, size: int) -> str:
        square = f"{size} x {size} pixels" if size else "square"
        verb, rest = (
            ("cropped", "of their area was cut away")
            if fit == "crop"
            else ("padded", f"of the {square} is padding")
        )
        return (
            f'{self.reshaped:,} of {self.pictures:,} pictures were {verb} (data.fit = "{fit}"): '
            f"{self.share:.0%} {rest}, on average"
        )
