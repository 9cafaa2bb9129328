"""Command-line options of the recipes that train on scenes drawn on the fly."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RecipeOptions:
    """The options of a recipe.

    Attributes:
        out: Output folder of the model.
        images: Scenes seen in training.
        threads: Number of torch threads.
        seed: Seed of initial weights and scenes.
    """

    out: Path
    images: int
    threads: int
    seed: int

    @property
    def checkpoint(self) -> Path:
        """Folder of an unfinished training, beside `out`."""
        return self.out.with_name(f"{self.out.name}-checkpoint")


def recipe_options(arguments: Sequence[str] | None, model: str, images: int) -> RecipeOptions:
    """Parse a recipe's command line.

    Args:
        arguments: Arguments without the program name; None for those of this process.
        model: Name of the model and of its folder in ``runs/``.
        images: Default number of scenes seen in training.
    """
    about = f"Train the {model} on scenes drawn on the fly."
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=Path("runs", model), help="its folder")
    parser.add_argument("--images", type=int, default=images, help="scenes seen in training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    return RecipeOptions(given.out.resolve(), given.images, given.threads, given.seed)
