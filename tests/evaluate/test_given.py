"""z of the data in place of the prior's."""

import numpy as np
import torch

from pipelines.evaluate.given import given_source, unlike_diversity, z_of_data
from pipelines.evaluate.metrics.compare import gaps
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed
from pipelines.latents.sequence import z_from_text
from pipelines.sample.bundle import load_bundle
from pipelines.sample.draw import draw
from pipelines.sample.engine import run_here
from pipelines.workspace.settings import SampleSettings

STAR, OVAL = "<boxes> star <1><2><300><400>", "<boxes> oval <5><6><700><800>"
OPTIONS = SampleSettings(n=2, steps=2)


def seen(z):
    nothing = np.zeros((len(z), len(z[0]), len(z[0][0]), 1))
    return Observed(nothing, [], z, *[nothing] * 4)


def test_each_seed_has_its_own_z_and_few_are_used_again():
    real = seen([[[STAR, ""], [OVAL, OVAL]], [[OVAL, STAR], [STAR, ""]]])
    captions = ("one", "two")
    assert z_of_data(real, captions, 0, 3) == {"one": [STAR] * 3, "two": [OVAL, STAR, OVAL]}
    assert z_of_data(real, captions, 1, 1) == {"one": [OVAL], "two": [STAR]}
    assert z_of_data(real, captions, 7, 1) == z_of_data(real, captions, 1, 1)


def test_a_caption_without_z_leaves_all_out():
    assert z_of_data(seen([[[STAR]], [[""]]]), ("one", "two"), 0, 2) is None
    assert z_of_data(None, ("one",), 0, 2) is None


def test_pictures_have_the_given_z_and_the_noise_of_the_models_own(trained):
    bundle = load_bundle(trained)
    torch.nn.init.normal_(bundle.diffusion.denoiser.proj_out.out.weight, std=0.3)
    own = list(draw(bundle, "a star", OPTIONS))
    run = run_here({"kaleido": bundle})
    source = given_source("kaleido", OPTIONS, {"a star": [own[0].z, STAR]}, run)
    ((texts, pictures),) = source(["a star"], 0)
    assert z_from_text(texts[0]) == z_from_text(own[0].z)
    assert (pictures[0] == own[0].pixels).all()
    assert texts[1] == "<boxes> star <1><2><300><400>"
    ((same, others),) = source(["a star"], 1)
    assert same == texts
    assert (others != pictures).any()


def test_diversity_of_repeated_z_is_known_to_say_nothing():
    assert not unlike_diversity(seen([[[STAR, OVAL]]]))
    assert unlike_diversity(seen([[[STAR, OVAL]], [[STAR, STAR]]]))


def test_the_gap_is_paired_and_at_the_scale_of_both():
    table = np.arange(8.0).reshape(4, 2)
    ours, theirs = Estimate.mean_of(table), Estimate.mean_of(table + 0.5)
    results = {
        ("kaleido", 1.0): {"caption": theirs},
        ("kaleido", 7.5): {"caption": ours, "edges": ours},
        ("given", 7.5): {"caption": theirs, "z.perplexity": ours},
    }
    (gap,) = gaps(results)
    assert (gap.metric, gap.prior.value, gap.data.value) == ("caption", 3.5, 4.0)
    assert (gap.difference.value, gap.difference.low, gap.difference.high) == (-0.5, -0.5, -0.5)
    assert gaps({("kaleido", 7.5): {"caption": ours}}) == []
