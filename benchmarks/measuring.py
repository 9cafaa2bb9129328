"""Measure the cost of the metrics relative to the feature network: time and memory.

10,000 pictures of 64 pixels, 100 for each of 100 captions, are compared with as many real ones,
whose statistics are known already, as in a sweep over models and scales. With the judge of scenes,
a network of 2 ms per picture, observing and measuring are timed together, in alternation with the
network alone. With DINOv2-small, as for a user's own data, both are timed separately, the network
on a few pictures (its weights are random, which costs the same). Aims: a ratio of 1.1 and 200 MB.
Drawing is excluded. `nox -s bench -- measuring`.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
from collections.abc import Callable

import numpy as np
from _paired import in_turns
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.measure import feature_distances, feature_metrics
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.observe import Eye, Inspect, Observed, PictureSource, join, observe
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.measure import measure
from pipelines.scenes.protocol import real_of
from pipelines.scenes.reference import Asked, reference_images

CAPTIONS, N, SIDE = 100, 100, 64
FEW = 128
"""Pictures on which DINOv2-small is timed."""
ROUNDS = 3


def main() -> None:
    """Print seconds, their ratio and the rise in memory, for both networks."""
    captions = fresh_captions(CAPTIONS)
    pictures = {caption: reference_images(caption, N, 0, "data", SIDE) for caption in captions}
    beside_the_judge(captions, pictures)
    beside_a_usual_network(captions, pictures)


def beside_the_judge(captions: list[str], pictures: dict[str, np.ndarray]) -> None:
    """Time the judge alone, and the whole evaluation of pictures of scenes."""
    judge, asked = Judge.load(embedded_path("judge")), [Asked.by(c) for c in captions]
    reference = seen(real_of(N, "reference", SIDE), judge.inspect, captions)

    def network() -> None:
        for caption in captions:
            judge.features(pictures[caption])

    def all_of_it() -> None:
        drawn = seen(given(pictures), judge.inspect, captions)
        measure(drawn, reference, asked, judge.config.ceiling["adherence"])

    rose = rise(all_of_it)
    works = {"alone": network, "all": all_of_it}
    times = {name: statistics.median(t) for name, t in in_turns(works, ROUNDS).items()}
    report(judge.name, times["alone"], times["all"] - times["alone"], rose)


def beside_a_usual_network(captions: list[str], pictures: dict[str, np.ndarray]) -> None:
    """Time DINOv2-small alone on a few pictures, and the metrics on features of its width."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"hidden_size": 384, "num_attention_heads": 6, "image_size": 224}
        Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
        BitImageProcessor(
            size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
        ).save_pretrained(folder)
        network = PretrainedFeatures(folder)
    few = np.concatenate([pictures[caption] for caption in captions[:2]])[:FEW]
    rng = np.random.default_rng(0)

    def features(images: np.ndarray) -> tuple[np.ndarray, list]:
        return rng.normal(size=(len(images), network.width)).astype(np.float32), []

    reference = seen(given(pictures), features, captions)

    def measuring() -> None:
        drawn = seen(given(pictures), features, captions)
        feature_distances(drawn, reference)
        feature_metrics(drawn, reference)

    network(few)
    rose = rise(measuring)
    times = in_turns({"network": lambda: network(few), "measuring": measuring}, ROUNDS)
    alone = statistics.median(times["network"]) / len(few) * CAPTIONS * N
    report("DINOv2-small, as far as time goes", alone, statistics.median(times["measuring"]), rose)


def given(pictures: dict[str, np.ndarray]) -> PictureSource:
    """Return a source of existing pictures, without z."""
    return lambda captions, seed: (([""] * N, pictures[caption]) for caption in captions)


def seen(source: PictureSource, inspect: Inspect, captions: list[str]) -> Observed:
    """Observe all captions under one seed."""
    return join([observe(source, Eye(inspect).run(), captions, 0)])


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rise(work: Callable[[], None]) -> float:
    """Run once, and return the rise of peak memory in bytes."""
    before = peak_memory()
    work()
    return peak_memory() - before


def report(network: str, alone: float, beyond: float, rose: float) -> None:
    """Print one line."""
    print(
        f"{network}: alone {alone:.1f} s, beyond it {beyond:.1f} s "
        f"({beyond / (CAPTIONS * N) * 1e3:.2f} ms a picture), {1.0 + beyond / alone:.2f} x; "
        f"memory rose by {rose / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
