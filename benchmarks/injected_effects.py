"""Inject known faults into real pictures, and see which metrics react.

Each fault should move the metrics that are meant to detect it and leave the others unchanged.
Prints each metric with the fault, beside its value and 95 % interval on unchanged pictures; values
outside the interval are in bold. `nox -s bench -- injected_effects` takes a minute or two on one
core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from PIL import Image, ImageFilter

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Eye, Observed, PictureSource, join, observe
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.measure import measure
from pipelines.scenes.protocol import real_of
from pipelines.scenes.reference import Asked

CAPTIONS, N, SEEDS, SIDE = 16, 16, (0, 1, 2), 32
SHOWN = (
    *("frechet", "mmd", "precision", "recall", "density", "coverage.real"),
    *("vendi", "vendi.infinity", "mss", "edges", "caption"),
    *("entropy.colour", "entropy.place", "entropy.background"),
)
Images = np.ndarray
Fault = Callable[[Images, np.random.Generator], Images]


def main() -> None:
    """Print the table as Markdown."""
    judge, captions = Judge.load(embedded_path("judge")), fresh_captions(CAPTIONS)
    asked = [Asked.by(caption) for caption in captions]

    def seen(source: PictureSource) -> Observed:
        return join([observe(source, Eye(judge.inspect).run(), captions, seed) for seed in SEEDS])

    reference = seen(real_of(N, "reference", SIDE))
    real = real_of(N, "data", SIDE)
    score = partial(
        measure, reference=reference, asked=asked, ceiling=judge.config.ceiling["adherence"]
    )
    sound = score(seen(real))
    columns = {name: score(seen(spoilt(real, fault))) for name, fault in FAULTS.items()}
    columns["captions shuffled"] = score(seen(lambda each, seed: real(following(each), seed)))
    print(f"| metric | untouched | {' | '.join(columns)} |\n|---|---|{'---:|' * len(columns)}")
    for name in SHOWN:
        print(f"| `{name}` | {' | '.join(row(name, sound, columns))} |")


def row(name: str, sound: Mapping[str, Estimate], columns: Mapping[str, Mapping[str, Estimate]]):
    """Return the cells of one metric."""
    interval = sound[name].interval()
    yield f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"
    for values in columns.values():
        text = f"{values[name].value:.3f}"
        inside = interval.low <= values[name].value <= interval.high
        yield text if inside else f"**{text}**"


def spoilt(source: PictureSource, fault: Fault) -> PictureSource:
    """Return a source whose pictures have a fault."""

    def spoiling(captions: Sequence[str], seed: int) -> Iterator[tuple[list[str], Images]]:
        for caption, (z, images) in zip(captions, source(captions, seed), strict=True):
            yield z, fault(images, np.random.default_rng([seed, len(caption)]))

    return spoiling


def following(captions: Sequence[str]) -> list[str]:
    """Return the next caption of each."""
    return [*captions[1:], captions[0]]


def blur(images: Images, rng: np.random.Generator) -> Images:
    """Blur by a Gaussian of one pixel."""
    blurred = (Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.0)) for image in images)
    return np.stack([np.asarray(image) for image in blurred])


def noise(images: Images, rng: np.random.Generator) -> Images:
    """Add Gaussian noise with a deviation of a twentieth of the range."""
    return np.clip(images + rng.normal(0.0, 12.75, images.shape), 0, 255).astype(np.uint8)


def saturate(images: Images, rng: np.random.Generator) -> Images:
    """Move colours away from grey by half, as strong guidance does."""
    grey = images.mean(-1, keepdims=True)
    return np.clip(grey + 1.5 * (images - grey), 0, 255).astype(np.uint8)


def duplicate(images: Images, rng: np.random.Generator) -> Images:
    """Repeat a quarter of the pictures four times each."""
    return np.tile(images[: len(images) // 4], (4, 1, 1, 1))


def drop_modes(images: Images, rng: np.random.Generator) -> Images:
    """Repeat the darker half of the pictures."""
    order = images.mean((1, 2, 3)).argsort(kind="stable")[: len(images) // 2]
    return np.concatenate([images[order]] * 2)


FAULTS: Mapping[str, Fault] = {
    "blur": blur,
    "noise": noise,
    "saturated": saturate,
    "duplicates": duplicate,
    "half of the modes": drop_modes,
}

if __name__ == "__main__":
    main()
