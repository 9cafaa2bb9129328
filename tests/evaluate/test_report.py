from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from pipelines.evaluate.compare import aims, changes, parity
from pipelines.evaluate.measure import measure
from pipelines.evaluate.reference import asked_shapes
from pipelines.evaluate.report import TITLES, Grid, Report, render, verdict
from pipelines.evaluate.statistics import Estimate
from tests.evaluate.conftest import CAPTIONS

HOSTILE = "<script>alert(1)</script>\"'> onload=x {{7*7}} &amp; two hearts"


class Tags(HTMLParser):
    """Collects tags and attributes, and checks that they nest."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(page):
    parser = Tags()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def report(data, reference) -> Report:
    asked = [asked_shapes(caption) for caption in CAPTIONS]
    real = measure(data, reference, asked)
    low = real | {"vendi": Estimate(3.0, real["vendi"].table - real["vendi"].value + 3.0)}
    estimates = {
        ("baseline", 1.0): real,
        ("kaleido", 1.0): real,
        ("baseline", 7.5): low,
        ("kaleido", 7.5): real,
    }
    pictures = np.zeros((3, 16, 16, 3), np.uint8)
    return Report(
        plan={
            "captions": (HOSTILE, "a star"),
            "n": 12,
            "cfg": (1.0, 7.5),
            "steps": 30,
            "seeds": (0, 1),
            "temperature": 1.0,
            "top_p": 1.0,
        },
        judge="scenes-judge@01234567",
        ceiling={"box": 0.99, "adherence": 0.98},
        sources={"baseline": "embedded", "kaleido": "embedded"},
        parity=parity(estimates, real),
        changes=changes(estimates),
        aims=aims(estimates, 0.98),
        estimates=estimates,
        data=real,
        grids=[Grid(HOSTILE, [("data", 0.0, pictures), ("baseline", 7.5, pictures)])],
        command="kaleido evaluate --name x",
    )


def test_captions_are_data(report):
    page = parsed(render(report))
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert page.words.count(HOSTILE) == 2  # above its pictures and in the list of captions
    images = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(images) == 2
    assert all(HOSTILE in attrs["alt"] for attrs in images)


def test_the_page_needs_nothing_besides_itself(report):
    page = parsed(render(report))
    assert "link" in {tag for tag, _ in page.tags}
    for _, attrs in page.tags:
        for name in ("src", "href"):
            assert attrs.get(name, "data:").startswith("data:")
    policy = [a["content"] for _, a in page.tags if "http-equiv" in a]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert "url(" not in render(report)


def test_it_answers_the_question_from_the_numbers(report):
    assert verdict(report).startswith("Yes: it loses less diversity")
    assert "VOID" not in render(report)
    reverse = {("baseline", c): report.estimates["kaleido", c] for c in (1.0, 7.5)} | {
        ("kaleido", c): report.estimates["baseline", c] for c in (1.0, 7.5)
    }
    assert verdict(replace(report, changes=changes(reverse))).startswith("No:")
    alike = {(m, c): report.data for m in ("baseline", "kaleido") for c in (1.0, 7.5)}
    assert verdict(replace(report, changes=changes(alike))).startswith("Not shown")
    assert "two guidance scales" in verdict(replace(report, changes=[]))


def test_a_void_comparison_says_so_first_and_large(report):
    unsound = replace(report.parity, sound=False, reason="<b>undertrained</b>")
    page = render(replace(report, parity=unsound))
    words = parsed(page).words
    body = words[words.index("VOID") :]
    assert body[1].startswith("This comparison proves nothing: <b>undertrained</b>")
    assert page.index("VOID") < page.index("<h1>")
    assert "cannot be said" in verdict(replace(report, parity=unsound))


def test_every_metric_stands_in_the_table_with_its_interval(report):
    page = render(report)
    for metric in report.data:
        assert TITLES[metric][0] in page
    low, high = report.data["vendi"].interval().low, report.data["vendi"].interval().high
    assert f"{low:.2f} to {high:.2f}" in page
    assert "kaleido evaluate --name x" in page and "scenes-judge@01234567" in page


def test_numbers_that_could_not_be_measured_are_not_invented(report):
    nothing = Estimate.mean_of(np.full((4, 2), np.nan))
    estimates = {key: {**value, "mss": nothing} for key, value in report.estimates.items()}
    page = render(replace(report, estimates=estimates, changes=changes(estimates)))
    assert "not measured" in page and ">nan" not in page
