from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import SILENT
from pipelines.documents.document import Document, Element
from pipelines.embedded.paths import embedded_path
from pipelines.plan.draws import drawn_spread
from pipelines.plan.planners.find import FoundPlanner
from pipelines.plan.sets import plan_set
from pipelines.workspace.settings import SampleSettings

SETTINGS = SampleSettings(n=6, seed=3)


class Anywhere:
    """Puts a star somewhere, by its seed."""

    identity = "anywhere"

    def __init__(self, reach: float, start: int = 0) -> None:
        self.reach, self.start, self.seeds = reach, start, []

    def plan(self, caption: str, count: int, seed: int) -> list[Document]:
        self.seeds.append(seed)
        rng = np.random.default_rng(self.start + seed)
        places = [(x, y, x + 0.2, y + 0.2) for x, y in rng.uniform(0, self.reach, (count, 2))]
        return [
            Document(
                key=f"plan-{number:04d}",
                caption=caption,
                elements=(Element(id="e0", label="star", box=place),),
            )
            for number, place in enumerate(places)
        ]


def measured(planner, draws, captions=("a star",)):
    sets = [plan_set(planner, caption, SETTINGS) for caption in captions]
    return drawn_spread(FoundPlanner(planner), SETTINGS, sets, None, draws, SILENT)


def test_draws_are_independent_and_the_first_is_among_them():
    planner = Anywhere(0.3)
    found = measured(planner, 4, ("a star", "the star"))
    assert planner.seeds == [3, 3, 4, 4, 5, 5, 6, 6]
    assert 1 < found.spread.low < found.spread.value < found.spread.high < 6
    assert found.spread_of_first.value < found.spread.value, "the chosen ones differ more"


def test_the_interval_holds_what_many_draws_give():
    many = measured(Anywhere(0.3), 100).spread.value
    held = 0
    for number in range(20):
        found = measured(Anywhere(0.3, 1000 * (number + 1)), 5).spread
        held += found.low <= many <= found.high
    assert held >= 17
    assert measured(Anywhere(0.02), 5).spread.high < many, "a planner that varies less"


def test_one_draw_has_no_interval():
    with pytest.raises(KaleidoError) as caught:
        measured(Anywhere(0.8), 1)
    assert caught.value.code == "bad-option"


def test_the_command_gives_the_interval(invoke, tmp_path):
    planner = ("--planner", str(embedded_path("prior")), "--n", "2", "--draws", "3")
    common = ("plan", "two circles and a star", *planner)
    assert "Over 3 draws: spread" in invoke(*common, "--out", str(tmp_path / "a")).out
    said = invoke(*common, "--json", "--out", str(tmp_path / "b"))
    drawn = json.loads(said.out)["drawn"]
    assert drawn["draws"] == 3 and drawn["spread"]["low"] <= drawn["spread"]["value"]
    invoke("plan", "a star", "--draws", "3", code=2)
