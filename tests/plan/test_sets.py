from pipelines.documents.document import Document, Element
from pipelines.plan.sets import SPARE, plan_set
from pipelines.workspace.settings import SampleSettings


class Fixed:
    """Draws given plans."""

    identity = "fixed"

    def __init__(self, places: list[float]) -> None:
        self.places, self.asked = places, 0

    def plan(self, caption: str, count: int, seed: int) -> list[Document]:
        self.asked = count
        return [
            Document(
                key=f"plan-{number:04d}",
                caption=caption,
                elements=(Element(id="e0", label="star", box=(x, 0.1, x + 0.2, 0.3)),),
            )
            for number, x in enumerate(self.places[:count])
        ]


def test_those_that_differ_most_are_chosen():
    planner = Fixed([0.1, 0.1, 0.1, 0.7])
    chosen = plan_set(planner, "a star", SampleSettings(n=2), pool=4)
    assert [document.key for document in chosen.documents] == ["plan-0000", "plan-0003"]
    found = chosen.report.repetition
    assert found.pool == 4 and found.spread > 1.2 and abs(found.spread_of_first - 1) < 1e-6
    assert found.distinct2 > 0.3 and found.self_bleu4 < 0.9
    assert chosen.report.fixed == ["1 × star"]


def test_a_few_more_than_are_kept_are_asked_for():
    planner = Fixed([0.1] * 9)
    alone = plan_set(planner, "a star", SampleSettings(n=1)).report
    assert planner.asked == 2 and alone.repetition.self_bleu4 is None
    alike = plan_set(planner, "a star", SampleSettings(n=4)).report.repetition
    assert planner.asked == 4 * SPARE and alike.self_bleu4 == 1.0
