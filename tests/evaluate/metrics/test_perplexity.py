from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.evaluate.metrics.perplexity import perplexity
from pipelines.evaluate.observe import Observed
from pipelines.latents.sequence import z_from_text
from pipelines.latents.vocabulary import encode_z
from pipelines.models.prior import Prior
from pipelines.scenes.reference import reference_scenes
from pipelines.scenes.truth import z_of_scene

CAPTIONS = ("a circle", "two hearts", "a star and a square")


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load(embedded_path("prior"))


@pytest.fixture(scope="module")
def real(prior) -> Observed:
    truth = TrueZ(prior.z_kinds)
    z = [
        [[z_of_scene(truth, s, c) for s in reference_scenes(c, 3, seed, "data")] for seed in (0, 1)]
        for c in CAPTIONS
    ]
    nothing = np.zeros((len(CAPTIONS), 2, 3, 0))
    return Observed(nothing, [], z, nothing, nothing, nothing, nothing)


def test_equal_scores_are_as_perplexing_as_there_are_legal_tokens(prior, real):
    indifferent = Prior.load(embedded_path("prior"))
    torch.nn.init.zeros_(indifferent.model.lm_head.weight)
    grammar, nats = prior.grammar(tuple(z_from_text(real.texts[0]))), []
    for text in real.texts:
        state = grammar.start()
        for token in [*encode_z(prior.tokenizer, text), prior.tokenizer.eos_token_id]:
            nats.append(np.log(len(grammar.legal(state))))
            state = grammar.step(state, token)
    got = perplexity(indifferent, CAPTIONS, real)
    assert got["z.perplexity"].value == pytest.approx(np.exp(np.mean(nats)))
    assert got["z.length"].value == pytest.approx(len(nats) / len(real.texts))


def test_a_prior_foresees_what_its_caption_says(prior, real):
    own = perplexity(prior, CAPTIONS, real)["z.perplexity"]
    other = perplexity(prior, CAPTIONS[1:] + CAPTIONS[:1], real)["z.perplexity"]
    assert own.value < 0.8 * other.value
    assert own.interval().low < own.value < own.interval().high


def test_a_subset_of_the_kinds_is_foreseen_too(prior, real):
    z = [[[text[: text.index("<blobs>")] for text in g] for g in by_seed] for by_seed in real.z]
    boxes = perplexity(prior, CAPTIONS, replace(real, z=z))
    assert boxes["z.length"].value < perplexity(prior, CAPTIONS, real)["z.length"].value
    assert np.isfinite(boxes["z.perplexity"].value)


def test_z_that_the_prior_cannot_write_are_left_out_and_counted(real):
    without = Prior.load(embedded_path("prior"))
    without.labels = tuple(label for label in without.labels if label != "circle")
    got = perplexity(without, CAPTIONS, real)
    assert got["z.writable"].value == pytest.approx(2 / 3)  # all but those of "a circle"
    assert got["z.writable"].table.tolist() == [[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]
    others = perplexity(without, CAPTIONS[1:], replace(real, z=real.z[1:]))
    assert got["z.perplexity"].value == pytest.approx(others["z.perplexity"].value)
    none_of_them = Prior.load(embedded_path("prior"))
    none_of_them.labels = ("oval",)
    assert perplexity(none_of_them, CAPTIONS, real).keys() == {"z.writable"}


def test_pictures_without_z_have_no_perplexity(prior, real):
    z = [[[""] * 3] * 2] * len(CAPTIONS)
    assert perplexity(prior, CAPTIONS, replace(real, z=z)) == {}
