from dataclasses import replace

import pytest

from pipelines.documents.projection import z_of
from pipelines.documents.reading import read_document
from pipelines.embedded.paths import embedded_path
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.models.prior import Prior
from pipelines.plan.plan import plan
from pipelines.plan.planners.base import Planner
from pipelines.plan.planners.prior import PriorPlanner
from pipelines.workspace.settings import SampleSettings

CAPTION, KINDS, SETTINGS = "two circles and a star", ("boxes", "palette"), SampleSettings()


@pytest.fixture(scope="module")
def prior() -> Prior:
    return Prior.load(embedded_path("prior"))


def test_plans_are_valid_documents_with_the_z_that_the_prior_draws(prior):
    planner: Planner = PriorPlanner(prior, KINDS, SETTINGS)
    documents = planner.plan(CAPTION, 3, seed=5)
    assert [each.key for each in documents] == ["plan-0000", "plan-0001", "plan-0002"]
    drawn, _ = plan(prior, CAPTION, KINDS, replace(SETTINGS, n=3, seed=5))
    for document, own in zip(documents, drawn, strict=True):
        assert read_document(document.to_json()) == document and document.caption == CAPTION
        assert z_to_text(z_of(document, KINDS)[0]) == z_to_text(z_from_text(own.z))


def test_a_seed_gives_its_plans_again_and_another_seed_others(prior):
    planner = PriorPlanner(prior, KINDS, SETTINGS)
    first = planner.plan(CAPTION, 2, seed=5)
    assert planner.plan(CAPTION, 3, seed=5)[:2] == first
    assert planner.plan(CAPTION, 2, seed=6) != first


def test_the_identity_names_all_that_plans_depend_on(prior):
    same = PriorPlanner(prior, KINDS, replace(SETTINGS, n=2, seed=9, cfg=1.0)).identity
    others = [
        PriorPlanner(prior, ("boxes",), SETTINGS),
        PriorPlanner(prior, KINDS, replace(SETTINGS, temperature=0.5)),
        PriorPlanner(prior, KINDS, replace(SETTINGS, top_p=0.5)),
        PriorPlanner(prior, KINDS, replace(SETTINGS, z_seed=1)),
    ]
    assert len({same, *(other.identity for other in others)}) == 5
    assert PriorPlanner(prior, KINDS, SETTINGS).identity == same
