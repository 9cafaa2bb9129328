"""Drawing what is required: always met, free z unchanged, and weights that correct the mask."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.latents.sequence import z_from_text
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.new_prior import build_prior
from pipelines.sample.candidates import Wanted, draw_sound_z
from pipelines.sample.control import (
    UNCONTROLLED,
    Control,
    controlled_kinds,
    draw_controlled_z,
    read_given,
    require_control,
    resample,
)
from pipelines.sample.decode import ROWS
from pipelines.sample.likelihood import log_masses, z_nats
from pipelines.sample.requirements import broken, read_requirements
from pipelines.workspace.settings import PriorSettings, SampleSettings

CAPTION = "two circles and a star"
KINDS = ("boxes", "blobs", "palette")
SETTINGS = SampleSettings(z_candidates=4, z_overlap=0.0, z_surprise=0.0)
BOX = "<boxes> star <100><100><300><300>"


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


def drawn(prior, encoded, control, kinds=KINDS, count=6):
    wanted = [Wanted(CAPTION, encoded, number) for number in range(count)]
    return draw_controlled_z(prior, wanted, kinds, SETTINGS, control)


@pytest.mark.parametrize(
    ("require", "forbid"),
    [
        (["star@left"], []),
        (["star@top", "circle@bottom right", "count=3"], []),
        (["circle.count=2", "star.count=1"], []),
        (["count=2"], ["star", "red"]),
    ],
)
def test_what_is_required_is_met_by_every_z(prior, encoded, require, forbid):
    wanted = read_requirements(require, forbid)
    found = [z_from_text(z.text) for z in drawn(prior, encoded, Control(wanted))]
    assert [broken(wanted, z) for z in found] == [[]] * 6
    assert len({str(z) for z in found}) == 6


def test_a_z_that_meets_it_without_help_is_left_as_it_is(prior, encoded):
    control = Control(read_requirements(["star.count=0"], []))
    wanted = [Wanted(CAPTION, encoded, number) for number in range(16)]
    free = draw_sound_z(prior, wanted, KINDS, SETTINGS)
    met = [not broken(control.wanted, z_from_text(z.text)) for z in free]
    assert any(met) and not all(met)
    asked = draw_controlled_z(prior, wanted, KINDS, SETTINGS, control)
    for ok, one, other in zip(met, free, asked, strict=True):
        assert (one == other) == ok
    assert draw_controlled_z(prior, wanted, KINDS, SETTINGS, UNCONTROLLED) == free


def test_given_parts_stay_and_the_rest_is_drawn(prior, encoded):
    control = Control(given=z_from_text(BOX))
    found = [z_from_text(z.text) for z in drawn(prior, encoded, control, count=3)]
    assert all(tuple(z) == KINDS and z["boxes"] == control.given["boxes"] for z in found)
    assert len({str(z["blobs"]) for z in found}) == 3
    last = Control(given=z_from_text("<palette> <500><500><500><1000>"))
    (z,) = drawn(prior, encoded, last, count=1)  # what comes before is drawn too
    assert tuple(z_from_text(z.text)) == KINDS
    assert z_from_text(z.text)["palette"] == last.given["palette"]


def test_draws_that_were_not_chosen_are_counted(prior, encoded):
    """Masked z are drawn in full groups, of which one is taken."""
    control = Control(given=z_from_text(BOX))
    assert {z.rejected for z in drawn(prior, encoded, control, count=2)} == {ROWS - 1}


def test_kinds_before_the_given_one_are_left_out_unless_asked_for():
    control = Control(given=z_from_text(BOX))
    usual = ("description", "boxes", "blobs", "palette")
    assert controlled_kinds(control, usual, None) == KINDS
    assert controlled_kinds(control, usual, ["description", "palette"]) == (
        "description",
        "boxes",
        "palette",
    )
    assert controlled_kinds(UNCONTROLLED, usual, None) == usual


def test_weights_are_the_ratio_of_both_distributions(prior, encoded):
    """log w = log p(z) - log q(z), with q the softmax over what the mask leaves."""
    grammar = require_control(prior, ("boxes",), Control(read_requirements(["star@left"], [])))
    text = "<boxes> circle<400><10><900><500><;> star<10><20><110><220>"
    ids, mask = prior.tokenize_z([text])
    with torch.inference_mode():
        logits = prior.z_logits(encoded, ids)[0, mask[0]].double().numpy() / 0.7
    state, q = grammar.start(), 0.0
    for token, scores in zip(ids[0, mask[0]].tolist(), logits, strict=True):
        legal = grammar.legal(state)
        q += scores[token] - np.logaddexp.reduce(scores[legal])
        state = grammar.step(state, token)
    whole = prior.grammar(("boxes",))
    state, p = whole.start(), 0.0
    for token, scores in zip(ids[0, mask[0]].tolist(), logits, strict=True):
        p += scores[token] - np.logaddexp.reduce(scores[whole.legal(state)])
        state = whole.step(state, token)
    (found,) = log_masses(prior, [encoded], [text], grammar, temperature=0.7)
    assert found == pytest.approx(p - q, abs=1e-4) and found < 0.0
    assert log_masses(prior, [encoded], [text], whole) == pytest.approx([0.0], abs=1e-9)
    assert z_nats(prior, CAPTION, [text])[0] is not None


def test_resampling_tends_to_the_distribution_of_rejection():
    """All texts of three letters under a Markov chain, of which those with exactly one b count.

    The mask alone (one draw) is far from the chain's distribution given that; the best of a pool,
    chosen by weight, comes near as the pool grows.
    """
    rng = np.random.default_rng(0)
    first, then = (
        np.array([0.7, 0.2, 0.1]),
        np.array([[0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.5, 0.1, 0.4]]),
    )
    texts = [t for t in product(range(3), repeat=3) if t.count(1) == 1]
    p = np.array([first[a] * then[a, b] * then[b, c] for a, b, c in texts])
    target = p / p.sum()

    def masked():
        """Draw a text letter by letter among what can still be met; with its log weight."""
        text, weight = (), 0.0
        for place in range(3):
            row = first if place == 0 else then[text[-1]]
            can = [any(t[: place + 1] == (*text, letter) for t in texts) for letter in range(3)]
            left = row * can
            weight += np.log(left.sum())
            text += (int(rng.choice(3, p=left / left.sum())),)
        return text, weight

    def distance(pool, draws=6000):
        counts = dict.fromkeys(texts, 0)
        for _ in range(draws):
            found = [masked() for _ in range(pool)]
            counts[found[resample([w for _, w in found], rng)][0]] += 1
        return np.abs(np.array([counts[t] for t in texts]) / draws - target).sum() / 2

    alone, several, many = (distance(pool) for pool in (1, 4, 16))
    assert alone > 0.1 > several > many and many < 0.03


def test_what_cannot_be_met_is_said_before_anything_is_drawn(prior):
    for require, forbid, kinds, given in (
        (["hat"], [], KINDS, {}),
        ([], ["circle", "star"], KINDS, {}),
        (["star@left"], [], ("palette",), {}),
        (["star@right"], [], KINDS, z_from_text(BOX)),
        ([], [], KINDS, z_from_text("<boxes> hat <1><1><9><9>")),
    ):
        control = Control(read_requirements(require, forbid), given)
        with pytest.raises(KaleidoError) as caught:
            require_control(prior, kinds, control)
        assert caught.value.code == "cannot-require"


def test_what_masks_cannot_ensure_ends_after_some_tries(prior, encoded):
    control = Control(read_requirements(["star.colour=teal"], []))
    with pytest.raises(KaleidoError) as caught:
        drawn(prior, encoded, replace(control, given=z_from_text(BOX)), ("boxes", "palette"), 1)
    assert caught.value.code == "not-drawn"


def test_given_parts_are_read_from_documents_and_lists():
    line = b'{"file": "a.png", "caption": "a star", "z": "%s", "index": 3}' % BOX.encode()
    assert read_given(line, "x") == (z_from_text(BOX), "a star")
    with pytest.raises(KaleidoError) as caught:
        read_given(line + b"\n" + line, "x")
    assert caught.value.code == "bad-data"


def test_given_kinds_that_models_do_not_know_are_left_out():
    control = Control(given=z_from_text(f"{BOX} <palette> <500><500><500><1000>"))
    assert set(control.of_kinds(("boxes", "blobs")).given) == {"boxes"}
    with pytest.raises(KaleidoError) as caught:
        control.of_kinds(("blobs",))
    assert caught.value.code == "cannot-require"
