"""The report as one HTML page that needs nothing besides itself. Captions are data: escaped."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from PIL import Image

from pipelines.evaluate.metrics.compare import (
    AIMS_CFG,
    BASELINE,
    KALEIDO,
    PARITY_CFG,
    Check,
    Estimates,
    Parity,
)
from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.report.charts import Line, line_chart
from pipelines.evaluate.report.contents import (
    NAMES,
    Grid,
    Report,
    bound,
    compared_models,
    number,
    outcome,
    searched,
    verdict,
)
from pipelines.evaluate.report.document import document, section, table

GAP = 4  # pixels between pictures of a strip

CURVES = (
    *("vendi", "vendi.valid", "mss", "mss.valid", "recall", "precision", "frechet", "edges"),
    *("mmd", "cmmd", "clip"),
)
TILES = ("vendi", "recall", "mss", "frechet")


def render(report: Report) -> str:
    """Write the page."""
    sections = [
        _void(report),
        *map(_warning, report.notes.warnings),
        _head(report),
        *_comparison(report),
        section("Pictures", _pictures(report)),
        section("From weak to strong guidance", _curves(report)),
        section("The judge", _judge(report)) if report.notes.ceiling else "",
        section("All numbers", _numbers(report)),
        section("What was compared", _compared(report)),
    ]
    models = " against ".join(NAMES[model] for model in report.sources)
    return document(f"Kaleido report: {models}", sections)


def _comparison(report: Report) -> list[str]:
    if report.parity is None:
        return []
    return [
        section("Was the comparison fair?", _parity(report.parity)),
        section("What strong guidance changes", _change_table(report)),
        section("Aims", _aims(report)),
    ]


def _void(report: Report) -> str:
    if not report.void:
        return ""
    return (
        '<section class="void" role="alert"><strong>VOID</strong>'
        f"<p>This comparison proves nothing: {escape(report.void)} "
        "The numbers below stand only as a record.</p></section>"
    )


def _warning(text: str) -> str:
    return f'<section class="warning" role="note"><p>{escape(text)}</p></section>'


def _head(report: Report) -> str:
    tiles = "".join(_tile(report, metric) for metric in TILES)
    return (
        f'<header><p class="kicker">Kaleido report, features of {escape(report.features)}</p>'
        f"<h1>{escape(report.question)}</h1>"
        f'<p class="lead">{escape(verdict(report))}</p>'
        f'<div class="tiles">{tiles}</div>'
        f'<p class="soft">At CFG {report.highest:g}. Intervals are in the tables.</p></header>'
    )


def _tile(report: Report, metric: str) -> str:
    pairs = ""
    for model in (BASELINE, KALEIDO):
        estimate = report.estimates.get((model, report.highest), {}).get(metric)
        if estimate is not None:
            pairs += (
                f'<div class="{model}"><b>{number(estimate.value)}</b>'
                f"<span>{NAMES[model]}</span></div>"
            )
    title, note = report.titles[metric]
    return (
        f'<div class="tile"><h3>{escape(title)}</h3><div class="pair">{pairs}</div>'
        f'<div class="soft">{escape(note)}</div></div>'
    )


def _pictures(report: Report) -> str:
    seed = report.plan["seeds"][0]
    figures = "".join(_grid(grid) for grid in report.grids)
    return (
        f"<p>The first captions with their first samples under seed {seed}; none was picked.</p>"
        f'<div class="grids">{figures}</div>'
    )


def _grid(grid: Grid) -> str:
    rows = ""
    for model, scale, pictures in grid.rows:
        at = f" at CFG {scale:g}" if model != "reference" else ""
        label = NAMES[model] + at.replace(" at ", " <br>")
        alt = f"{len(pictures)} pictures, {NAMES[model]}{at}, for: {grid.caption}"
        rows += (
            f'<div class="strip"><span class="{model}">{label}</span>'
            f'<img src="{_strip(pictures)}" alt="{escape(alt, quote=True)}"></div>'
        )
    return f"<figure><figcaption>{escape(grid.caption)}</figcaption>{rows}</figure>"


def _strip(pictures: np.ndarray) -> str:
    """Join pictures side by side, transparent between them, as a data URL."""
    count, height, width = pictures.shape[:3]
    canvas = np.zeros((height, count * (width + GAP) - GAP, 4), np.uint8)
    for index, picture in enumerate(pictures):
        left = index * (width + GAP)
        canvas[:, left : left + width, :3] = picture
        canvas[:, left : left + width, 3] = 255
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _curves(report: Report) -> str:
    figures = "".join(_chart(report, metric) for metric in (*CURVES, *report.notes.curves))
    legend = "".join(
        f'<span class="{name}"><i></i>{NAMES[name]}</span>' for name in (*report.sources, "data")
    )
    return (
        f'<p class="legend">{legend}</p>'
        f'<div class="charts">{figures}</div>'
        '<p class="soft">Whiskers are 95 % intervals over captions and seeds.</p>'
    )


def _chart(report: Report, metric: str) -> str:
    lines = []
    for model in (BASELINE, KALEIDO):
        points = [
            (scale, values[metric].interval())
            for (name, scale), values in sorted(report.estimates.items())
            if name == model and metric in values
        ]
        if points:
            lines.append(Line(model, points))
    if not lines:
        return ""
    title, note = report.titles[metric]
    real = report.data[metric].value if metric in report.data else None
    chart = line_chart(title, title, lines, real)
    return f"<figure><figcaption><b>{escape(title)}</b>{escape(note)}</figcaption>{chart}</figure>"


def _change_table(report: Report) -> str:
    if not report.changes:
        return f"<p>Not measured: it needs CFG {PARITY_CFG:g} and a larger one.</p>"
    rows = [
        (
            report.titles[c.metric][0],
            *(_spread(i, "+") for i in (c.baseline, c.kaleido, c.difference)),
        )
        for c in report.changes
    ]
    changes = table(("Metric", "Baseline", "Kaleido", "Kaleido minus baseline"), rows)
    return (
        f"<p>Change from CFG {PARITY_CFG:g} to CFG {report.highest:g}, paired by caption and "
        "seed; 95 % intervals below the values. The last column is the headline: the difference of "
        f"the two differences.</p>{changes}"
    )


def _aims(report: Report) -> str:
    if not report.aims:
        return f"<p>Not measured: they need CFG {PARITY_CFG:g} and CFG {AIMS_CFG:g}.</p>"
    void = "<p>The comparison is void, so none counts as met.</p>" if report.void else ""
    return void + _checks(report.aims, not report.void)


def _parity(parity: Parity) -> str:
    words = (
        f"<p>At CFG {PARITY_CFG:g} both models must fit the data equally well. Otherwise the "
        "comparison would only show that one was trained for longer.</p>"
    )
    return words + (_checks(parity.checks) if parity.checks else "")


def _checks(checks: Iterable[Check], sound: bool = True) -> str:
    rows = [
        (
            escape(check.name),
            _spread(check.interval),
            bound(check),
            _outcome(check) if sound else '<span class="soft">void</span>',
        )
        for check in checks
    ]
    return table(("Condition", "Value", "Bound", "Outcome"), rows)


def _outcome(check: Check) -> str:
    words = outcome(check)
    return f'<span class="{"good" if words == "met" else "bad"}">{words}</span>'


def _judge(report: Report) -> str:
    rows = [
        (report.titles[f"ceiling.{name}"][0], f"{100 * share:.1f} %")
        for name, share in report.notes.ceiling.items()
    ]
    return (
        "<p>A second detector, of another architecture than the one that made the training "
        "latents and trained on other scenes, scores adherence and modes. Its own accuracy on "
        "real, held-out renders is the ceiling of what any model can score.</p>"
        + table(("Ceiling", ""), rows)
    )


def _numbers(report: Report) -> str:
    columns = sorted(report.estimates, key=lambda key: (key[1], key[0]))
    header = ["Metric", "Real", *(f"{NAMES[m]}<br>CFG {scale:g}" for m, scale in columns)]
    sets = [report.data, *(report.estimates[key] for key in columns)]
    rows = [
        (
            f"{escape(title)}<small>{escape(note)}</small>",
            *(_spread(s[metric].interval()) if metric in s else "" for s in sets),
        )
        for metric, (title, note) in report.titles.items()
        if any(metric in s for s in sets)
    ]
    judged = ""
    if report.notes.ceiling:
        rows.insert(0, _valid_row(report, sets))
        judged = (
            " Entropies, modes covered and what is called valid are of pictures in which the judge "
            "finds exactly the captioned objects. The fewer a model has of them, the lower the "
            "Vendi score that it can reach over them."
        )
    return (
        "<p>Values with 95 % intervals below them, “–” where none can be given. Fréchet distance, "
        "recall and Vendi depend on the number of pictures: compare them only with reports of "
        f"equal n on equal features. None of them is an FID.{judged}</p>" + table(header, rows)
    )


def _valid_row(report: Report, sets: Sequence[Estimates]) -> tuple[str, ...]:
    plan = report.plan
    groups = len(plan["captions"]) * len(plan["seeds"])
    title = "Valid pictures"
    note = f"of {groups * plan['n']}; used by Vendi and MSS, valid only; skipped: under two of them"
    cells = (
        f"{s['vendi.valid'].pictures}<small>skipped {s['vendi.valid'].skipped} of {groups} groups"
        "</small>"
        for s in sets
    )
    return f"{title}<small>{note}</small>", *cells


def _compared(report: Report) -> str:
    plan = report.plan
    captions, seeds = plan["captions"], plan["seeds"]
    images = len(captions) * len(seeds) * plan["n"]
    facts = {
        "Models": escape("; ".join(compared_models(report))),
        "Pictures": f"{images} for each model and scale: {len(captions)} captions, "
        f"{plan['n']} samples, seeds {', '.join(map(str, seeds))}",
        "Sampler": f"{plan['steps']} steps; z unguided at temperature {plan['temperature']:g}, "
        f"top-p {plan['top_p']:g}; x guided at noise levels from "
        f"{plan['cfg_begin']:g} down to {plan['cfg_end']:g}",
        "Copies": f"searched for among {searched(plan['training'])}",
        "Reference": escape(report.notes.reference),
        "Features": escape(report.notes.features),
        "Not judged": escape(report.notes.not_judged),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items())
    items = "".join(f"<li>{escape(caption)}</li>" for caption in captions)
    return (
        f'<dl>{listed}</dl><h3>Captions</h3><ol class="captions">{items}</ol>'
        f"<h3>To make this page again</h3><pre><code>{escape(report.command)}</code></pre>"
    )


def _spread(interval: Interval, sign: str = "") -> str:
    value = number(interval.value, sign)
    if not interval.known:
        return f"{value}<small>–</small>" if math.isfinite(interval.value) else value
    return f"{value}<small>{number(interval.low, sign)} to {number(interval.high, sign)}</small>"
