"""What measuring costs beside the feature network alone: time as a ratio, and memory.

10,000 pictures of 64 pixels are seen and measured as `kaleido evaluate` does, and their features
are computed by the network alone, in turns. The aims are a ratio of 1.1 and 200 MB. Drawing is not
part of it: the pictures are made once. The judge is a small network, and beside a larger one the
ratio is smaller, so what a picture costs beyond the network is printed, too.
`nox -s bench -- measuring`.
"""

from __future__ import annotations

import statistics

from _paired import in_turns

from pipelines.embedded.paths import embedded_path
from pipelines.engines.pace import peak_memory
from pipelines.evaluate.captions import fresh_captions
from pipelines.evaluate.judge import Judge
from pipelines.evaluate.measure import measure
from pipelines.evaluate.observe import join, observe
from pipelines.evaluate.reference import asked_shapes, reference_images

CAPTIONS, N, SIDE = 100, 100, 64
ROUNDS = 3


def main() -> None:
    """Print seconds, their ratio, and how far memory rose."""
    judge, captions = Judge.load(embedded_path("judge")), fresh_captions(CAPTIONS)
    pictures = reference_images(captions[0], N, 0, "reference", SIDE)
    asked = [asked_shapes(caption) for caption in captions]

    def network() -> None:
        for _ in captions:
            judge.features(pictures)

    def all_of_it() -> None:
        cell = observe(lambda caption, seed: ([""] * N, pictures), judge.look, captions, 0)
        seen = join([cell])
        measure(seen, seen, asked, judge.config.ceiling["adherence"])

    judge.look(pictures)
    before = peak_memory(of_children=False)
    works = {"the network alone": network, "seeing and measuring": all_of_it}
    times = in_turns(works, ROUNDS)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name:22} {median:6.1f} s   {median / medians['the network alone']:.2f} x")
    network_time, whole = medians.values()
    print(f"beyond the network: {(whole - network_time) / (CAPTIONS * N) * 1e3:.2f} ms a picture")
    print(f"memory rose by {(peak_memory(of_children=False) - before) / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
