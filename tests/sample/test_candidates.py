"""The first sound candidate is taken: nothing else about the distribution of z changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.latents.agreement import agreement
from pipelines.latents.sequence import z_from_text
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.new_prior import build_prior
from pipelines.models.soundness import SLACK, Soundness
from pipelines.sample.candidates import ChosenZ, Wanted, are_sound, draw_sound_z
from pipelines.sample.decode import draw_z
from pipelines.sample.likelihood import surprises
from pipelines.sample.seeds import seeds_of
from pipelines.workspace.settings import PriorSettings, SampleSettings

CAPTION = "two circles and a star"
KINDS = ("boxes", "blobs")
SETTINGS = SampleSettings(z_candidates=4, z_surprise=0.0)


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    settings = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=KINDS)
    prior = build_prior(settings, train_tokenizer([CAPTION] * 200, 1300), ("circle", "star"))
    prior.model.eval()
    return prior


@pytest.fixture(scope="module")
def encoded(prior):
    with torch.inference_mode():
        return prior.encode([CAPTION])


@pytest.fixture(scope="module")
def every(prior, encoded):
    """All candidates of six samples: candidate number -> text of each sample."""
    purposes = ["z", *(f"z candidate {k}" for k in range(1, 4))]
    seeds = [seeds_of(SETTINGS, purpose, CAPTION, range(6)) for purpose in purposes]
    return [draw_z(prior, encoded, KINDS, of_candidate) for of_candidate in seeds]


@pytest.fixture
def single(monkeypatch):
    """Let z of one box and one blob pass: an untrained prior draws hardly any that agree."""
    monkeypatch.setattr(
        "pipelines.sample.candidates.are_sound",
        lambda prior, captions, texts, settings: ["<;>" not in text for text in texts],
    )


def chosen(prior, encoded, settings, indices=range(6)):
    wanted = [Wanted(CAPTION, encoded, index) for index in indices]
    return draw_sound_z(prior, wanted, KINDS, settings)


def test_the_first_candidate_that_is_sound_is_taken_else_the_best(prior, encoded, every, single):
    expected = []
    for index in range(6):
        candidates = [group[index] for group in every]
        fits = ["<;>" not in text for text in candidates]
        least = [agreement(z_from_text(text)) for text in candidates]
        short = [sum(max(0.0, 0.5 - each) for each in found.overlaps) for found in least]
        place = fits.index(True) if any(fits) else short.index(min(short))
        expected.append(ChosenZ(candidates[place], place if any(fits) else 4))
    assert chosen(prior, encoded, SETTINGS) == expected
    # All three cases are there: taken at once, later, and none sound.
    assert {0, 4} < {z.rejected for z in expected}


def test_boxes_that_do_not_fit_the_blobs_are_not_sound(prior, encoded):
    fitting = "<boxes> star <100><100><300><300> <blobs> star <200><200><100><100><0>"
    half = "<boxes> star <100><100><300><300> <blobs> star <270><200><100><100><0>"  # 0.48
    none = "<boxes> star <100><100><300><300>"
    texts = [fitting, half, none]
    assert are_sound(prior, [encoded] * 3, texts, SETTINGS) == [True, False, True]
    less = replace(SETTINGS, z_overlap=0.4)
    assert are_sound(prior, [encoded] * 3, texts, less) == [True] * 3


def test_what_the_data_have_in_common_is_asked_of_a_z(prior, encoded, monkeypatch):
    text = "<boxes> star <100><100><300><300> <blobs> star <210><200><100><100><0>"  # 0.9
    palette = "<palette> <581><746><630><1000>"
    texts = [text, *(f"<description> a {word} star <boxes> {palette}" for word in ("red", "blue"))]
    texts[1:] = [each.replace("<boxes> ", "") for each in texts[1:]]
    off = replace(SETTINGS, z_colours="off")
    assert are_sound(prior, [encoded] * 3, texts, SETTINGS) == [True, True, True]
    monkeypatch.setattr(prior, "soundness", Soundness({"star": 0.95 / SLACK}, 1.0))
    assert are_sound(prior, [encoded] * 3, texts, SETTINGS) == [False, True, False]
    assert are_sound(prior, [encoded] * 3, texts, off) == [False, True, True]
    assert are_sound(prior, [encoded] * 3, texts, replace(off, z_overlap=0.0)) == [True] * 3
    wrong = "<description> a small star in the top left <boxes> star <750><50><950><250>"
    monkeypatch.setattr(prior, "soundness", Soundness({}, 0.0, 1.0))
    assert are_sound(prior, [encoded], [wrong], SETTINGS) == [False]
    assert are_sound(prior, [encoded], [wrong], replace(SETTINGS, z_places="off")) == [True]


def test_the_choice_does_not_depend_on_what_is_drawn_together(prior, encoded, single):
    together = chosen(prior, encoded, SETTINGS)
    assert chosen(prior, encoded, SETTINGS, [4, 1]) == [together[4], together[1]]


def test_one_candidate_is_taken_as_it_is(prior, encoded, every):
    one = replace(SETTINGS, z_candidates=1, z_overlap=1.0)
    assert chosen(prior, encoded, one) == [ChosenZ(text) for text in every[0]]


def test_a_check_that_is_switched_off_rejects_nothing(prior, encoded, every):
    off = replace(SETTINGS, z_overlap=0.0)
    assert chosen(prior, encoded, off) == [ChosenZ(text) for text in every[0]]


def test_other_seeds_of_z_give_other_candidates_and_other_noise_does_not(prior, encoded):
    of_z = chosen(prior, encoded, replace(SETTINGS, z_seed=1))
    assert of_z != chosen(prior, encoded, SETTINGS)
    assert chosen(prior, encoded, replace(SETTINGS, noise_seed=1)) == chosen(
        prior, encoded, SETTINGS
    )


@pytest.fixture
def sure(prior, monkeypatch):
    """The prior, but sure that there is one object: a separator has e⁻⁶ of the end's weight."""

    def z_logits(caption, ids):
        logits = torch.zeros(*ids.shape, len(prior.tokenizer))
        logits[..., prior.tokenizer.convert_tokens_to_ids("<;>")] = -6.0
        return logits

    monkeypatch.setattr(prior, "z_logits", z_logits)
    return prior


ONE = "<boxes> star <100><100><300><300>"
TWO = f"{ONE} <;> star <100><100><300><300>"


def test_a_separator_against_the_priors_certainty_is_a_slip(sure, encoded):
    p = np.exp(-6.0) / (1.0 + np.exp(-6.0))
    entropy = -p * np.log(p) - (1 - p) * np.log1p(-p)
    one, two = surprises(sure, [encoded] * 2, [ONE, TWO])
    assert two == pytest.approx(-np.log(p) - entropy)
    assert one == 0.0  # the end is what was expected
    judged = {
        limit: are_sound(sure, [encoded] * 2, [ONE, TWO], SampleSettings(z_surprise=limit))
        for limit in (0.0, 5.0, 7.0)
    }
    assert judged == {0.0: [True, True], 5.0: [True, False], 7.0: [True, True]}


def test_of_unsound_z_one_without_a_slip_that_falls_least_short_is_taken(
    sure, encoded, monkeypatch
):
    near, far = (f"{ONE} <blobs> star <{x}><200><100><100><0>" for x in (300, 400))
    fitting = "<blobs> star <200><200><100><100><0>"
    slip = f"{TWO} {fitting} <;> {fitting.removeprefix('<blobs> ')}"
    drawn = [slip, far, near, far]
    monkeypatch.setattr(
        "pipelines.sample.candidates.draw_rows",
        lambda prior, rows, *rest: [drawn.pop(0) for _ in rows],
    )
    wanted = [Wanted(CAPTION, encoded, 0)]
    assert are_sound(sure, [encoded], [slip], SETTINGS) == [True]
    settings = SampleSettings(z_candidates=4)
    assert draw_sound_z(sure, wanted, KINDS, settings) == [ChosenZ(near, 4)]


def test_a_rare_label_among_many_is_no_slip(sure, encoded, monkeypatch):
    monkeypatch.setattr("pipelines.sample.likelihood.FEW_CHOICES", 0.01)
    assert surprises(sure, [encoded], [TWO]) == [0.0]
