"""The report as Markdown, for issues, wikis and papers' drafts: the page's words and tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from pipelines.evaluate.metrics.compare import Check
from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.report.contents import (
    GAP_COLUMNS,
    NAMES,
    Report,
    bound,
    change_columns,
    change_rows,
    compared_models,
    gap_rows,
    number,
    outcome,
    searched,
    verdict,
)


def markdown(report: Report) -> str:
    """Write ``report.md``; captions are data and are escaped."""
    return "\n\n".join(_blocks(report)) + "\n"


def _blocks(report: Report) -> Iterator[str]:
    yield f"# {report.question}"
    failed = report.parity is not None and report.parity.failed
    if failed:
        yield f"**This comparison shows nothing:** {report.void}"
    else:
        yield verdict(report)
    for text in report.notes.warnings:
        yield f"> {text}"
    if report.parity and report.parity.checks:
        yield "## Was the comparison fair?"
        yield _checks(report.parity.checks, sound=True)
    if report.changes:
        yield f"## From CFG 1 to {report.highest:g}"
        rows = (
            (title, *("" if i is None else _spread(i, "+") for i in intervals))
            for title, intervals in change_rows(report)
        )
        yield _table(("", *change_columns(report)), rows)
    if report.aims:
        yield "## Aims"
        yield _checks(report.aims, not report.void)
    if report.gaps:
        yield f"## z of the prior and of the data, at CFG {report.highest:g}"
        lines = ((title, *map(_spread, cells)) for title, _, cells in gap_rows(report))
        yield _table(GAP_COLUMNS, lines)
    yield "## All numbers"
    yield f"On features of {report.features}, with 95 % intervals."
    yield _numbers(report)
    yield "## What was compared"
    yield _compared(report)


def _numbers(report: Report) -> str:
    columns = report.columns
    sets = [report.data, *(report.estimates[key] for key in columns)]
    rows = (
        (title, *(_spread(s[metric].interval()) if metric in s else "" for s in sets))
        for metric, (title, _) in report.titles.items()
        if any(metric in s for s in sets)
    )
    return _table(("", "Real", *(f"{NAMES[m]}, CFG {scale:g}" for m, scale in columns)), rows)


def _compared(report: Report) -> str:
    plan = report.plan
    models = (f"- {model}" for model in compared_models(report))
    captions = (f"{place}. {_escape(text)}" for place, text in enumerate(plan["captions"], 1))
    parts = (
        "\n".join(models),
        f"{len(plan['captions'])} captions, {plan['n']} samples, seeds "
        f"{', '.join(map(str, plan['seeds']))}. Real pictures: {report.notes.reference}. "
        f"Copies: searched for among {searched(plan['training'])}.",
        "\n".join(captions),
        f"To make it again:\n\n    {report.command}",
    )
    return "\n\n".join(parts)


def _checks(checks: Iterable[Check], sound: bool) -> str:
    rows = (
        (
            check.name,
            _spread(check.interval),
            bound(check),
            outcome(check) if sound else "no verdict",
        )
        for check in checks
    )
    return _table(("Condition", "Value", "Bound", "Outcome"), rows)


def _spread(interval: Interval, sign: str = "") -> str:
    value = number(interval.value, sign)
    if not interval.known:
        return value
    return f"{value} ({number(interval.low, sign)} to {number(interval.high, sign)})"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Write text so that no Markdown reader finds markup, a mention or a link in it.

    Control and format characters, which a terminal would obey, are written as escapes.
    """
    plain = "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cc", "Cf") else c
        for c in " ".join(text.split())
    )
    escaped = re.sub(r"([\\`*_{}\[\]<>()#+.!|~:-])", r"\\\1", plain.replace("&", "&amp;"))
    return escaped.replace("@", "&#64;")
