"""What the prior makes of captions that say a scene in other words than it was trained on."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.core.batches import in_batches
from pipelines.core.seeds import derive, generator
from pipelines.embedded.paths import ROOT
from pipelines.evaluate.adherence.boxes import agrees, boxes_of, same_count, same_shapes
from pipelines.models.prior import Prior
from pipelines.sample.decode import Row, draw_rows
from pipelines.scenes.captions import NUMBERS, WORDINGS
from pipelines.scenes.factors import P_SHAPE, SHAPES, sample_scene

USUAL = tuple(shape for shape, p in zip(SHAPES, P_SHAPE, strict=True) if p)
"""Shapes of the normal variant."""

SYNONYMS = {
    "circle": ("disc", "ball"),
    "square": ("box", "block"),
    "oval": ("ellipse", "egg"),
    "star": ("asterisk",),
    "heart": ("valentine",),
    "triangle": ("wedge",),
}
QUANTITIES = {1: "a single", 2: "a pair of", 3: "a trio of"}
ADJECTIVES = ("shiny", "wooden", "tiny", "fluffy", "ancient", "transparent")
PLACES = ("in a meadow", "at night", "under water", "for my sister", "on the moon")


@dataclass(frozen=True)
class Reworded:
    """A caption and what it means.

    Attributes:
        kind: How it is worded.
        caption: The caption.
        shapes: The shapes it asks for, with their numbers.
        absent: A shape that it says is not there; empty for none.
    """

    kind: str
    caption: str
    shapes: Mapping[str, int]
    absent: str = ""


def main() -> None:
    """Measure the shipped prior, or the prior in a folder, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "prior")
    parser.add_argument("--captions", type=int, default=500)
    parser.add_argument("-n", type=int, default=4, help="z of each caption")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    asked = rewordings(options.captions, options.seed)
    print(json.dumps(measure(Prior.load(options.folder), asked, options.n), indent=1))


def rewordings(count: int, seed: int = 0) -> list[Reworded]:
    """Write captions of held-out combinations of shapes, of each kind in turn, all different.

    Args:
        count: How many.
        seed: Their seed.
    """
    rng = generator(seed, "rewordings", "captions")
    found: dict[str, Reworded] = {}
    scenes = _combinations(rng)
    while len(found) < count:
        kind = tuple(KINDS)[len(found) % len(KINDS)]
        shapes = next(scenes)
        worded, absent = KINDS[kind](shapes, rng)
        caption = str(rng.choice(WORDINGS)).format(list=worded)
        found.setdefault(caption, Reworded(kind, caption, shapes, absent))
    return list(found.values())


def measure(prior: Prior, asked: Sequence[Reworded], n: int) -> dict[str, dict[str, float]]:
    """Draw n boxes for each caption, and compare them with what was meant.

    Returns:
        For each kind: ``agrees``, share of z with exactly the shapes that were meant; ``count``,
        with as many objects; ``shapes``, with these shapes in any number; ``absent``, share without
        the shape that is said not to be there, where one is; ``captions``, how many.
    """
    texts: list[list[str]] = []
    for group in in_batches(asked, 4):
        rows = []
        for each in group:
            with torch.inference_mode():
                states = prior.encode([each.caption])
            seeds = [derive(0, "measure rewordings", f"{i}:{each.caption}") for i in range(n)]
            rows += [Row(states, seed) for seed in seeds]
        texts += in_batches(draw_rows(prior, rows, ("boxes",)), n)
    found: dict[str, dict[str, list[float]]] = {}
    for each, drawn in zip(asked, texts, strict=True):
        values = found.setdefault(each.kind, {"agrees": [], "count": [], "shapes": []})
        for z in drawn:
            values["agrees"].append(agrees(z, each.shapes))
            values["count"].append(same_count(z, each.shapes))
            values["shapes"].append(same_shapes(z, each.shapes))
            if each.absent:
                labels = {box.label for box in boxes_of(z)}
                values.setdefault("absent", []).append(each.absent not in labels)
    numbers = Counter(each.kind for each in asked)
    return {
        kind: {name: float(np.mean(v)) for name, v in values.items()} | {"captions": numbers[kind]}
        for kind, values in found.items()
    }


def _combinations(rng: np.random.Generator) -> Iterator[Counter[str]]:
    """Draw shapes with their numbers, of held-out scenes."""
    while True:
        scene = sample_scene(rng)
        if scene.split == "heldout":
            yield Counter(item.shape for item in scene.objects)


Wording = Callable[[Mapping[str, int], np.random.Generator], tuple[str, str]]
"""(shape -> number, source of randomness) -> caption, and a shape said to be absent."""


def _listed(phrases: Sequence[str]) -> str:
    return phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"


def _phrase(name: str, count: int, adjective: str = "") -> str:
    words = [NUMBERS[count], adjective, name if count == 1 else f"{name}s"]
    if count == 1 and (adjective or name)[0] in "aeiou":
        words[0] = "an"
    return " ".join(filter(None, words)).replace("boxs", "boxes")


def _plain(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    return _listed([_phrase(shape, n) for shape, n in _shuffled(shapes, rng)]), ""


def _synonym(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    names = [(str(rng.choice(SYNONYMS[shape])), n) for shape, n in _shuffled(shapes, rng)]
    return _listed([_phrase(name, n) for name, n in names]), ""


def _numeral(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    phrases = [f"{n} {shape}{'s' * (n > 1)}" for shape, n in _shuffled(shapes, rng)]
    return _listed(phrases), ""


def _quantity(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    phrases = [f"{QUANTITIES[n]} {shape}{'s' * (n > 1)}" for shape, n in _shuffled(shapes, rng)]
    return _listed(phrases), ""


def _order(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    counted = [f"{shape}{'s' * (n > 1)}, {_of_them(n)}" for shape, n in _shuffled(shapes, rng)]
    return "; ".join(counted), ""


def _of_them(count: int) -> str:
    return "just one" if count == 1 else f"{NUMBERS[count]} of them"


def _negation(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    absent = str(rng.choice([shape for shape in USUAL if shape not in shapes]))
    caption, _ = _plain(shapes, rng)
    ending = str(rng.choice([f", no {absent}", f", but no {absent}s", f" without a {absent}"]))
    return caption + ending, absent


def _unknown(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    phrases = [_phrase(s, n, str(rng.choice(ADJECTIVES))) for s, n in _shuffled(shapes, rng)]
    return f"{_listed(phrases)} {rng.choice(PLACES)}", ""


def _misspelling(shapes: Mapping[str, int], rng: np.random.Generator) -> tuple[str, str]:
    items = _shuffled(shapes, rng)
    place = int(rng.integers(len(items)))
    items[place] = (_misspelt(items[place][0], rng), items[place][1])
    return _listed([_phrase(name, n) for name, n in items]), ""


def _misspelt(word: str, rng: np.random.Generator) -> str:
    """Swap two neighbouring letters, drop one, or double one; never the first."""
    at = int(rng.integers(1, len(word) - 1))
    changed = (
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        word[:at] + word[at + 1 :],
        word[: at + 1] + word[at:],
    )
    different = [text for text in changed if text != word]
    return different[int(rng.integers(len(different)))]


def _shuffled(shapes: Mapping[str, int], rng: np.random.Generator) -> list[tuple[str, int]]:
    items = list(shapes.items())
    return [items[i] for i in rng.permutation(len(items))]


KINDS: Mapping[str, Wording] = {
    "plain": _plain,
    "synonym": _synonym,
    "numeral": _numeral,
    "quantity": _quantity,
    "order": _order,
    "negation": _negation,
    "unknown word": _unknown,
    "misspelling": _misspelling,
}
"""Kind -> how a caption of it is written; ``plain`` as in training, for comparison."""

if __name__ == "__main__":
    main()
