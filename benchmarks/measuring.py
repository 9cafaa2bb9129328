"""What measuring costs beside the feature network alone: time as a ratio, and memory.

10,000 pictures of 64 pixels, 100 of each of 100 captions, are measured against as many others, of
which the real ones have been seen and their own statistics taken, as in a sweep of many models and
scales. Beside the scenes' judge, a network small enough for 2 ms a picture, seeing and measuring
are done as a whole, in turns with the network alone. Beside DINOv2-small, as for data of one's own,
both are timed apart, the network on a few pictures: its weights are random, which costs the same.
The aims are a ratio of 1.1 and 200 MB. Drawing is not part of it. `nox -s bench -- measuring`.
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
from pipelines.evaluate.measure import feature_distances, feature_metrics, measure
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.observe import Look, Observed, Source, join, observe
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.protocol import real_of
from pipelines.scenes.reference import Asked, reference_images

CAPTIONS, N, SIDE = 100, 100, 64
FEW = 128
"""Pictures that the usual network is timed on."""
ROUNDS = 3


def main() -> None:
    """Print seconds, their ratio, and how far memory rose, beside either network."""
    captions = fresh_captions(CAPTIONS)
    pictures = {caption: reference_images(caption, N, 0, "data", SIDE) for caption in captions}
    beside_the_judge(captions, pictures)
    beside_a_usual_network(captions, pictures)


def beside_the_judge(captions: list[str], pictures: dict[str, np.ndarray]) -> None:
    """Time the judge alone, and all that is done with scenes' pictures."""
    judge, asked = Judge.load(embedded_path("judge")), [Asked.by(c) for c in captions]
    reference = seen(real_of(N, "reference", SIDE), judge.look, captions)

    def network() -> None:
        for caption in captions:
            judge.features(pictures[caption])

    def all_of_it() -> None:
        drawn = seen(given(pictures), judge.look, captions)
        measure(drawn, reference, asked, judge.config.ceiling["adherence"])

    rose = rise(all_of_it)
    works = {"alone": network, "all": all_of_it}
    times = {name: statistics.median(t) for name, t in in_turns(works, ROUNDS).items()}
    report(judge.name, times["alone"], times["all"] - times["alone"], rose)


def beside_a_usual_network(captions: list[str], pictures: dict[str, np.ndarray]) -> None:
    """Time DINOv2-small alone on a few pictures, and measuring on features of its width."""
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


def given(pictures: dict[str, np.ndarray]) -> Source:
    """Pictures that are there already, without z."""
    return lambda caption, seed: ([""] * N, pictures[caption])


def seen(source: Source, look: Look, captions: list[str]) -> Observed:
    """See them all under one seed."""
    return join([observe(source, look, captions, 0)])


def peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def rise(work: Callable[[], None]) -> float:
    """Do it once, and return by how many bytes the peak of memory rose."""
    before = peak_memory()
    work()
    return peak_memory() - before


def report(network: str, alone: float, beyond: float, rose: float) -> None:
    """Print it."""
    print(
        f"{network}: alone {alone:.1f} s, beyond it {beyond:.1f} s "
        f"({beyond / (CAPTIONS * N) * 1e3:.2f} ms a picture), {1.0 + beyond / alone:.2f} x; "
        f"memory rose by {rose / 1e6:.0f} MB"
    )


if __name__ == "__main__":
    main()
