from xml.etree import ElementTree

import pytest

from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.report.charts import Line, line_chart, nice_ticks


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 7.9), (0.031, 0.034), (5.0, 5.0)])
def test_ticks_enclose_the_values_in_few_even_steps(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high
    assert 2 <= len(ticks) <= 8
    steps = [b - a for a, b in zip(ticks, ticks[1:], strict=False)]
    assert max(steps) == pytest.approx(min(steps))


def test_a_chart_is_well_formed_and_says_its_values_and_axes():
    nan = float("nan")
    points = [(1.0, Interval(0.5, 0.4, 0.6)), (7.5, Interval(0.2, nan, nan))]
    svg = line_chart("<Recall>", "share & more", [Line("kaleido", points)], reference=0.9)
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "<Recall>: kaleido 0.5 at CFG 1, 0.2 at CFG 7.5"
    words = [text.text for text in root.iter("text")]
    assert "share & more" in words and "guidance scale (CFG)" in words and "7.5" in words
    assert len(list(root.iter("circle"))) == 2
    assert len([p for p in root.iter("path") if p.get("class") == "whisker"]) == 1


def test_a_small_change_does_not_fill_the_chart():
    points = [(1.0, Interval(0.99, 0.99, 0.99)), (7.5, Interval(0.98, 0.98, 0.98))]
    root = ElementTree.fromstring(line_chart("x", "x", [Line("kaleido", points)]))
    first, last = (float(circle.get("cy")) for circle in root.iter("circle"))
    assert 0 < last - first < 20


def test_one_scale_or_nothing_to_show():
    single = [Line("kaleido", [(7.5, Interval(1.0, 1.0, 1.0))])]
    assert ElementTree.fromstring(line_chart("x", "x", single)).tag == "svg"
    nan = float("nan")
    assert line_chart("x", "x", [Line("kaleido", [(1.0, Interval(nan, nan, nan))])]) == ""
    assert line_chart("x", "x", []) == ""
