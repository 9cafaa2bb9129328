"""What the recipes that train on scenes drawn on the fly can be told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RecipeOptions:
    """A recipe's command line.

    Attributes:
        out: The model's folder.
        images: Scenes seen in training.
        threads: That torch computes with.
        seed: Of initial weights and scenes.
    """

    out: Path
    images: int
    threads: int
    seed: int

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished training lies: beside `out`."""
        return self.out.with_name(f"{self.out.name}-checkpoint")


def recipe_options(arguments: Sequence[str] | None, model: str, images: int) -> RecipeOptions:
    """Parse a recipe's command line.

    Args:
        arguments: Without the program's name; None for those of this process.
        model: What is trained; it also names the folder in ``runs/``.
        images: Scenes seen in training, by default.
    """
    about = f"Train the {model} on scenes drawn on the fly."
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--out", type=Path, default=Path("runs", model), help="its folder")
    parser.add_argument("--images", type=int, default=images, help="scenes seen in training")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    return RecipeOptions(given.out.resolve(), given.images, given.threads, given.seed)
