import re
from dataclasses import asdict, replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from pipelines.evaluate.metrics.compare import aims, changes, gaps
from pipelines.evaluate.metrics.statistics import Estimate, Interval
from pipelines.evaluate.report.contents import number, verdict
from pipelines.evaluate.report.page import render
from pipelines.evaluate.report.rows import rows_of
from pipelines.sample.choice import Decoding
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
    assert verdict(report).startswith("Yes: Kaleido loses less diversity than its rivals do.")
    assert "over 2 captions in 2 clusters and 2 seeds. Over valid pictures alone" in verdict(report)
    assert "At least 3 seeds are recommended; this run has fewer." in verdict(report)
    assert "No verdict" not in render(report)
    reverse = {("baseline", c): report.estimates["kaleido", c] for c in (1.0, 7.5)} | {
        ("kaleido", c): report.estimates["baseline", c] for c in (1.0, 7.5)
    }
    assert "No: Kaleido" in verdict(replace(report, changes=changes(reverse)))
    alike = {(m, c): report.data for m in ("baseline", "kaleido") for c in (1.0, 7.5)}
    assert "Not shown: the interval" in verdict(replace(report, changes=changes(alike)))
    assert "needs CFG 1 and a larger scale" in verdict(replace(report, changes=[]))


def test_pictures_come_first_then_parity_the_change_and_the_aims_with_their_outcomes(report):
    words = parsed(render(report)).words
    titles = ("Pictures", "Was the comparison fair?", "What strong guidance changes", "Aims")
    pictures, parity, change, targets = (words.index(title) for title in titles)
    end = words.index("From weak to strong guidance")
    assert pictures < parity < change < targets < end
    assert "Kaleido minus baseline" in words[change:targets]
    outcomes = [word for word in words[targets:end] if word in ("met", "not met")]
    assert len(outcomes) == len(report.aims) == 5
    assert outcomes.count("met") == sum(check.passed for check in report.aims)
    assert words[parity:change].count("met") == len(report.parity.checks)
    assert "Not measured: they need CFG 1 and CFG 7.5." in render(replace(report, aims=[]))


def test_the_rival_has_a_column_of_its_own_and_the_claim_is_only_what_remains(report):
    low, high = report.estimates["baseline", 7.5], report.estimates["kaleido", 7.5]
    for rival, answer in ((high, "Only against plain guidance"), (low, "Yes: Kaleido")):
        estimates = {**report.estimates, ("window", 7.5): rival}
        sources = {"baseline": "embedded", "window": "embedded", "kaleido": "embedded"}
        other = replace(
            report,
            sources=sources,
            images_seen=report.images_seen | {"window": 2000},
            z_kinds=report.z_kinds | {"window": ()},
            estimates=estimates,
            changes=changes(estimates, report.notes.headlines),
            aims=aims(estimates),
        )
        assert verdict(other).startswith(answer)
        words = parsed(render(other)).words
        assert "Kaleido minus window" in words and "Baseline, guided window, CFG 7.5" in words
        rows = {(row["model"], row["cfg"]) for row in rows_of(other)}
        assert ("window", 7.5) in rows and ("window", 1.0) not in rows
    better = next(check for check in aims({**report.estimates, ("window", 7.5): high}))
    assert better.name == "Vendi at CFG 7.5, Kaleido over baseline with a guided window"
    assert better.interval.value == 1.0 and not better.passed


def test_one_caption_has_no_interval_and_the_page_says_so(report):
    single = {
        key: {n: replace(e, table=e.table[:1]) for n, e in value.items()}
        for key, value in report.estimates.items()
    }
    own = single | {("given", 7.5): single["kaleido", 7.5]}
    other = replace(
        report,
        estimates=single,
        changes=changes(single),
        aims=aims(single),
        gaps=gaps(own),
    )
    assert "Not shown: an interval needs two captions" in verdict(other)
    words = parsed(render(other)).words
    assert words.count("–") > 50
    end = words.index("From weak to strong guidance")
    shown = words[words.index("Aims") : end]
    assert not [word for word in shown if re.search(r"\d to \S*\d", word)]


@pytest.mark.parametrize("failed", [True, False])
def test_a_run_without_a_verdict_says_so_in_one_line_at_the_top(report, failed):
    check = replace(report.parity.checks[0], passed=not failed)
    parity = replace(report.parity, sound=False, reason="<b>few</b>", checks=(check,))
    page = render(replace(report, parity=parity))
    words = parsed(page).words
    start = "This comparison shows nothing: " if failed else "No verdict: "
    assert len([word for word in words if word.startswith(start + "<b>few</b>")]) == 1
    assert page.index(start) < page.index("<h2>Pictures</h2>")
    assert "VOID" not in page and ('role="alert"' in page) == failed
    assert "No verdict: <b>few</b>" in verdict(replace(report, parity=parity))
    targets = words[words.index("Aims") : words.index("From weak to strong guidance")]
    assert targets.count("no verdict") == len(report.aims) and "met" not in targets


def test_every_metric_stands_in_the_table_with_its_interval(report):
    page = render(report)
    for metric in report.estimates["kaleido", 7.5]:
        assert report.titles[metric][0].replace("'", "&#39;") in page
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


@pytest.mark.parametrize(
    ("decoding", "told"),
    [
        (Decoding(), "z unguided, from the prior's own distribution;"),
        (Decoding(0.5, no_repeat_ngram=3), "z unguided, temperature 0.5, no repeat ngram 3;"),
    ],
)
def test_a_report_says_how_z_were_drawn(report, decoding, told):
    page = render(replace(report, plan=report.plan | {"decoding": asdict(decoding)}))
    assert told in unescape(page)
