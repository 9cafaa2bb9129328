"""How often the intervals of `kaleido evaluate --pictures` hold the true difference.

With few captions they come from a jackknife over the pictures of each. Features are drawn around
some of fifty centres, so more centres are more varied; the true difference is the mean of many
draws. Prints the shares for the Vendi score and the similarity. `nox -s bench -- folder_intervals`
takes a minute or two on one core.
"""

from __future__ import annotations

import numpy as np

from pipelines.evaluate.folders.measure import Group, difference
from pipelines.evaluate.metrics.diversity import mss, vendi

WIDTH, NOISE, ROUNDS, TRUE = 64, 0.3, 250, 1500
CASES = ((8, 2, 6), (16, 2, 6), (16, 10, 10), (16, 1, 30), (32, 3, 12))
"""Pictures, and kinds of pictures in both folders."""

SCORES = {"vendi": vendi, "mss": mss}


def main() -> None:
    """Print the table as Markdown."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(50, WIDTH))

    def draw(count: int, kinds: int) -> np.ndarray:
        shown = centres[rng.integers(kinds, size=count)]
        return shown + NOISE * rng.normal(size=(count, WIDTH)) + 0.5

    def mean(score: str, count: int, kinds: int) -> float:
        return float(np.mean([SCORES[score](draw(count, kinds)) for _ in range(TRUE)]))

    print("| pictures | kinds | Vendi held | MSS held |\n|---:|---:|---:|---:|")
    for count, few, many in CASES:
        true = {name: mean(name, count, many) - mean(name, count, few) for name in SCORES}
        held = dict.fromkeys(SCORES, 0)
        for _ in range(ROUNDS):
            pair = [group_of(draw(count, many))], [group_of(draw(count, few))]
            for name in SCORES:
                found = difference(*pair, name)
                held[name] += found.low <= true[name] <= found.high
        shares = " | ".join(f"{100 * held[name] / ROUNDS:.1f} %" for name in SCORES)
        print(f"| {count} | {few} and {many} | {shares} |")


def group_of(rows: np.ndarray) -> Group:
    scores = {name: score(rows) for name, score in SCORES.items()}
    without = {
        name: np.array([score(np.delete(rows, index, 0)) for index in range(len(rows))])
        for name, score in SCORES.items()
    }
    return Group(len(rows), scores, without, [])


if __name__ == "__main__":
    main()
