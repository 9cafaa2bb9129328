from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from pipelines.evaluate.metrics.compare import aims, changes
from pipelines.evaluate.metrics.statistics import Estimate, Interval
from pipelines.evaluate.report.contents import number, verdict
from pipelines.evaluate.report.page import render
from tests.evaluate.conftest import HOSTILE


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
    assert verdict(report).startswith("The comparison is fair: at CFG 1")
    assert "Yes: Kaleido loses less diversity" in verdict(report)
    assert "over 2 captions and 2 seeds. Over valid pictures alone" in verdict(report)
    assert "3 seeds are the rule; this run has fewer." in verdict(report)
    assert "VOID" not in render(report)
    reverse = {("baseline", c): report.estimates["kaleido", c] for c in (1.0, 7.5)} | {
        ("kaleido", c): report.estimates["baseline", c] for c in (1.0, 7.5)
    }
    assert " No: Kaleido" in verdict(replace(report, changes=changes(reverse)))
    alike = {(m, c): report.data for m in ("baseline", "kaleido") for c in (1.0, 7.5)}
    assert "Not shown: the interval" in verdict(replace(report, changes=changes(alike)))
    assert "needs CFG 1 and a larger one" in verdict(replace(report, changes=[]))


def test_parity_comes_first_then_the_change_then_the_aims_with_their_outcomes(report):
    words = parsed(render(report)).words
    parity, change, targets, pictures = (
        words.index(title)
        for title in (
            *("Was the comparison fair?", "What strong guidance changes", "Aims", "Pictures"),
        )
    )
    assert parity < change < targets < pictures
    assert "Kaleido minus baseline" in words[change:targets]
    outcomes = [word for word in words[targets:pictures] if word in ("met", "not met")]
    assert len(outcomes) == len(report.aims) == 5
    assert outcomes.count("met") == sum(check.passed for check in report.aims)
    assert words[parity:change].count("met") == len(report.parity.checks)
    assert "Not measured: they need CFG 1 and CFG 7.5." in render(replace(report, aims=[]))


def test_one_caption_has_no_interval_and_the_page_says_so(report):
    single = {
        key: {n: replace(e, table=e.table[:1]) for n, e in value.items()}
        for key, value in report.estimates.items()
    }
    other = replace(report, estimates=single, changes=changes(single), aims=aims(single))
    assert "Not shown: an interval needs two captions" in verdict(other)
    words = parsed(render(other)).words
    assert words.count("–") > 50
    assert not [
        word for word in words[words.index("Aims") : words.index("Pictures")] if " to " in word
    ]


def test_a_void_comparison_says_so_first_and_large(report):
    unsound = replace(report.parity, sound=False, reason="<b>undertrained</b>")
    page = render(replace(report, parity=unsound))
    words = parsed(page).words
    body = words[words.index("VOID") :]
    assert body[1].startswith("This comparison proves nothing: <b>undertrained</b>")
    assert page.index("VOID") < page.index("<h1>")
    assert "cannot be said" in verdict(replace(report, parity=unsound))
    targets = words[words.index("Aims") : words.index("Pictures")]
    assert targets.count("void") == len(report.aims) and "met" not in targets


def test_every_metric_stands_in_the_table_with_its_interval(report):
    page = render(report)
    for metric in report.estimates["kaleido", 7.5]:
        assert report.titles[metric][0].replace("'", "&#x27;") in page
    used = report.data["vendi.valid"]
    assert f"{used.pictures}<small>skipped {used.skipped} of " in page
    assert "Kaleido (embedded, 1,000 images seen, z: boxes)" in page
    assert "Baseline (embedded, 2,000 images seen, z: none)" in page
    low, high = report.data["vendi"].interval().low, report.data["vendi"].interval().high
    assert f"{low:.2f} to {high:.2f}" in page
    assert "kaleido evaluate --name x" in page and "scenes-judge@01234567" in page


def test_small_numbers_are_not_written_as_nothing():
    assert number(-4.1e-5) == "−4e−5" and number(0.0) == "0.000" and number(0.0013) == "0.001"


def test_the_verdict_says_what_is_not_beyond_doubt(report):
    assert "so few captions tell" in verdict(report)
    sure = [replace(c, interval=Interval(1.0, c.limit, c.limit)) for c in report.parity.checks]
    assert "captions tell" not in verdict(
        replace(report, parity=replace(report.parity, checks=tuple(sure)))
    )


def test_numbers_that_could_not_be_measured_are_not_invented(report):
    nothing = Estimate.mean_of(np.full((4, 2), np.nan))
    estimates = {key: {**value, "mss": nothing} for key, value in report.estimates.items()}
    page = render(replace(report, estimates=estimates, changes=changes(estimates)))
    assert "not measured" in page and ">nan" not in page
