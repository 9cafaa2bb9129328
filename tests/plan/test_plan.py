from dataclasses import replace

import pytest

from pipelines.documents.projection import z_of
from pipelines.documents.statements import z_contradictions
from pipelines.embedded.paths import embedded_path
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.models.prior import Prior
from pipelines.plan.plan import plan
from pipelines.sample.likelihood import z_nats
from pipelines.workspace.settings import SampleSettings

CAPTION = "two circles and a star"
KINDS = ("boxes", "palette")
SETTINGS = SampleSettings(n=6, seed=3)


def labels(plan) -> list[str]:
    z = z_from_text(plan.z)
    found = [sorted(item.label for item in z[kind].items) for kind in ("boxes", "blobs")]
    return found[0] if found[0] == found[1] else []


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load(embedded_path("prior"))


def test_plans_are_the_z_of_the_samples_with_their_likelihood(prior):
    plans, gain = plan(prior, CAPTION, KINDS, SETTINGS)
    assert gain is None and [p.index for p in plans] == list(range(6))
    again, _ = plan(prior, CAPTION, KINDS, replace(SETTINGS, n=2))
    assert [p.z for p in again] == [p.z for p in plans[:2]]
    other, _ = plan(prior, CAPTION, KINDS, replace(SETTINGS, z_seed=1))
    assert {p.z for p in other}.isdisjoint(p.z for p in plans)
    nats = z_nats(prior, CAPTION, [p.z for p in plans])
    assert [p.nats for p in plans] == pytest.approx([each.mean() for each in nats])
    away = z_nats(prior, "a heart", [plans[0].z])[0].mean()
    assert away > 1.5 * plans[0].nats, "the z of another caption is less likely"


def test_a_plan_is_a_document_that_gives_its_z_back(prior):
    (first, *_), _ = plan(prior, CAPTION, KINDS, replace(SETTINGS, n=1))
    document = first.document(64)
    assert document.key == "plan-0000" and document.caption == CAPTION
    assert sorted(e.label for e in document.elements) == ["circle", "circle", "star"]
    z, lost = z_of(document, KINDS)
    assert z_to_text(z) == z_to_text(z_from_text(first.z)) and not lost


def test_choosing_from_a_pool_gains_spread_and_says_what_it_costs(prior):
    chosen, gain = plan(prior, CAPTION, KINDS, SETTINGS, pool=48)
    assert len(chosen) == 6 == len({p.index for p in chosen}) and gain.pool == 48
    assert gain.spread > 1.05 * gain.spread_of_first
    everything, _ = plan(prior, CAPTION, KINDS, replace(SETTINGS, n=48))
    assert {p.z for p in chosen} <= {p.z for p in everything}


def test_spread_does_not_cost_what_the_caption_says(prior):
    kinds, settings = ("description", "boxes", "blobs"), replace(SETTINGS, seed=0, z_candidates=1)
    pool, _ = plan(prior, CAPTION, kinds, replace(settings, n=64))
    wrong = {p.index for p in pool if labels(p) != ["circle", "circle", "star"]}
    assert wrong, "the prior slips now and then"
    assert min(p.structure for p in pool if p.index in wrong) > 2
    chosen, _ = plan(prior, CAPTION, kinds, settings, pool=64)
    assert wrong.isdisjoint(p.index for p in chosen)


def test_plans_that_contradict_themselves_are_not_chosen_for_spread(prior):
    kinds = ("description", "boxes", "palette")
    pool, _ = plan(prior, CAPTION, kinds, replace(SETTINGS, n=32, z_candidates=1))
    wrong = {p.index for p in pool if z_contradictions(z_from_text(p.z))}
    assert wrong and len(wrong) < 26
    chosen, _ = plan(prior, CAPTION, kinds, replace(SETTINGS, z_candidates=1), pool=32)
    assert wrong.isdisjoint(p.index for p in chosen)
    everything, _ = plan(prior, CAPTION, kinds, replace(SETTINGS, n=32, z_candidates=1), pool=32)
    assert len(everything) == 32


def test_a_z_that_does_not_parse_has_no_likelihood(prior):
    assert z_nats(prior, CAPTION, ["<boxes> circle <1>", "<boxes> zebra <1><1><2><2>"]) == [
        None,
        None,
    ]
