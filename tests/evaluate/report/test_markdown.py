from dataclasses import replace

from pipelines.evaluate.metrics.compare import Parity
from pipelines.evaluate.report.contents import number, verdict
from pipelines.evaluate.report.markdown import markdown
from tests.evaluate.conftest import HOSTILE


def cells(text, title):
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_it_has_the_page_s_numbers(report):
    text = markdown(report)
    assert verdict(report) in text and report.command in text
    numbers = text[text.index("## All numbers") :]
    assert cells(numbers, "")[2:] == [
        f"{model}, CFG {scale}" for scale in ("1", "7.5") for model in ("Baseline", "Kaleido")
    ]
    for column, key in ((2, ("baseline", 1.0)), (5, ("kaleido", 7.5))):
        interval = report.estimates[key]["mss"].interval()
        found = cells(numbers, "Similarity (MSS)")[column]
        assert found.startswith(f"{number(interval.value)} ({number(interval.low)} to ")


def test_every_table_has_as_many_cells_in_each_line(report):
    widths = {}
    for block in markdown(report).split("\n\n"):
        if block.startswith("|"):
            widths[block[:20]] = {line.count(" |") for line in block.splitlines()}
    assert len(widths) == 4 and all(len(counts) == 1 for counts in widths.values())


def test_captions_are_data(report):
    text = markdown(report)
    assert HOSTILE not in text and "\\<script\\>" in text


def test_mentions_controls_and_markup_of_captions_are_escaped(report):
    caption = "\x1b[31m @someone &lt;b&gt; https://example.org \u202e *x* | y"
    plan = {**report.plan, "captions": (caption, "a star")}
    text = markdown(replace(report, plan=plan))
    (line,) = [line for line in text.splitlines() if line.startswith("1. ")]
    assert not {"\x1b", "\u202e", "@"} & set(line)
    assert "&#64;someone" in line and "&amp;lt;b&amp;gt;" in line and "https\\:" in line
    assert "\\*x\\* \\| y" in line


def test_a_run_without_a_verdict_says_so_first_and_warnings_follow(report):
    void = Parity(False, "at CFG 1 they differ.", report.parity.checks)
    warned = replace(report.notes, warnings=("Few pictures.",))
    text = markdown(replace(report, parity=void, notes=warned))
    title, first, second = text.split("\n\n")[:3]
    assert first == "No verdict: at CFG 1 they differ."
    assert second == "> Few pictures."
    aims = text[text.index("## Aims") : text.index("## All numbers")]
    assert "| no verdict |" in aims and "met |" not in aims
