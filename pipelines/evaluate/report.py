"""The report: one HTML page that needs nothing besides itself. Captions are data: escaped."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.evaluate.charts import Line, line_chart
from pipelines.evaluate.compare import (
    BASELINE,
    KALEIDO,
    PARITY_CFG,
    Change,
    Check,
    Estimates,
    Parity,
    Results,
)
from pipelines.evaluate.statistics import Interval

GAP = 4  # pixels between pictures of a strip

TITLES = {
    "vendi": ("Vendi score", "effective number of different samples of a caption"),
    "mss": ("Similarity (MSS)", "mean cosine of two samples of a caption; less is more diverse"),
    "recall": ("Recall", "share of real pictures that the samples reach"),
    "precision": ("Precision", "share of samples that look real"),
    "frechet": ("Fréchet distance", "distance to real pictures; less is better"),
    "edges": ("Edge energy", "over that of real pictures: below 1 is soft, above 1 is noisy"),
    "caption": ("Caption kept", "share of pictures with exactly the captioned objects"),
    "boxes": ("Boxes of z kept", "share of z's boxes found at IoU of 0.5 or more"),
    "boxes.shuffled": ("Boxes of another z", "the same against the next caption's z: chance"),
    "z.parses": ("z parses", "share of drawn z that follow the grammar"),
    "z.agrees": ("z agrees with the caption", "share with the captioned shapes and counts"),
    "entropy.colour": ("Colour entropy", "nats, given the shape; tells of the caption"),
    "entropy.texture": ("Texture entropy", "nats, given the shape; tells of the caption"),
    "entropy.place": ("Place entropy", "nats over a 3 by 3 grid, given the shape"),
    "entropy.arrangement": ("Arrangement entropy", "nats, given the count; tells of the caption"),
    "entropy.size": ("Size entropy", "nats; independent of the caption"),
    "entropy.background": ("Background entropy", "nats; independent of the caption"),
    "coverage.colour": ("Colours covered", "expected share of the known ones in 8 draws"),
    "coverage.texture": ("Textures covered", "expected share of the known ones in 8 draws"),
    "coverage.place": ("Places covered", "expected share of the 9 in 8 draws"),
    "coverage.arrangement": ("Arrangements covered", "expected share of the known ones in 8 draws"),
    "coverage.size": ("Sizes covered", "expected share of the known ones in 8 draws"),
    "coverage.background": ("Backgrounds covered", "expected share of the known ones in 8 draws"),
}
"""Metric -> its title and what it says."""

CURVES = (
    *("vendi", "mss", "recall", "precision", "frechet", "edges", "caption", "boxes"),
    *("entropy.colour", "entropy.texture", "entropy.place", "entropy.background"),
)
TILES = ("vendi", "recall", "mss", "frechet")
NAMES = {BASELINE: "Baseline", KALEIDO: "Kaleido", "data": "Real pictures"}


@dataclass(frozen=True)
class Grid:
    """Pictures of one caption: rows of (model, guidance scale or 0 for data, pictures)."""

    caption: str
    rows: Sequence[tuple[str, float, np.ndarray]]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        plan: Captions, n, cfg, steps and seeds.
        judge: The judge's name, which names the feature space.
        ceiling: The judge's accuracy on held-out renders, by name.
        sources: Model -> ``workspace`` or ``embedded``.
        parity: Whether the comparison is sound.
        changes: From the lowest to the highest guidance.
        aims: At the highest guidance.
        estimates: Of the models.
        data: Of real pictures, a second set against the reference.
        grids: Pictures, not chosen: the first of each caption.
        command: What makes this page again.
    """

    plan: Mapping[str, Any]
    judge: str
    ceiling: Mapping[str, float]
    sources: Mapping[str, str]
    parity: Parity
    changes: Sequence[Change]
    aims: Sequence[Check]
    estimates: Results
    data: Estimates
    grids: Sequence[Grid]
    command: str


def render(report: Report) -> str:
    """Write the page."""
    style = Path(__file__).with_name("report.css").read_text("utf-8")
    sections = [
        _void(report),
        _head(report),
        _section("Pictures", _pictures(report)),
        _section("What guidance changes", _curves(report)),
        _section("The change from end to end", _change_table(report)),
        _section("Aims", _aims(report)),
        _section("Was the comparison fair?", _parity(report)),
        _section("The judge", _judge(report)),
        _section("All numbers", _numbers(report)),
        _section("What was compared", _compared(report)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # No script can run and nothing can be fetched, whatever a caption says.
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f'<title>Kaleido: baseline against Kaleido</title><link rel="icon" href="data:,">'
        f"<style>{style}</style></head><body><main>{''.join(sections)}</main></body></html>\n"
    )


def _void(report: Report) -> str:
    if report.parity.sound:
        return ""
    return (
        '<section class="void" role="alert"><strong>VOID</strong>'
        f"<p>This comparison proves nothing: {escape(report.parity.reason)} "
        "The numbers below stand only as a record.</p></section>"
    )


def _head(report: Report) -> str:
    scales = _scales(report)
    tiles = "".join(_tile(report, metric, scales[-1]) for metric in TILES)
    return (
        f'<header><p class="kicker">Kaleido report, features of {escape(report.judge)}</p>'
        "<h1>Does drawing z first keep pictures diverse under strong guidance?</h1>"
        f'<p class="lead">{escape(verdict(report))}</p>'
        f'<div class="tiles">{tiles}</div>'
        f'<p class="soft">At CFG {scales[-1]:g}. Intervals are in the tables.</p></header>'
    )


def verdict(report: Report) -> str:
    """Answer the question in two or three sentences, from the numbers alone."""
    if not report.parity.sound:
        return "It cannot be said from this run: the comparison is void."
    vendi = next((change for change in report.changes if change.metric == "vendi"), None)
    if vendi is None:
        return "It cannot be said from this run: it needs both models at two guidance scales."
    gap = vendi.difference
    if gap.low > 0.0:
        answer = "Yes: it loses less diversity than the baseline does."
    elif gap.high < 0.0:
        answer = "No: it loses more diversity than the baseline does."
    else:
        answer = "Not shown: the interval on the difference holds zero."
    low, high = _scales(report)[0], _scales(report)[-1]
    met = sum(check.passed for check in report.aims)
    return (
        f"{answer} From CFG {low:g} to {high:g} the baseline's Vendi score changes by "
        f"{_number(vendi.baseline.value, '+')}, Kaleido's by {_number(vendi.kaleido.value, '+')}; "
        f"the difference is {_number(gap.value, '+')} "
        f"(95 % interval {_number(gap.low, '+')} to {_number(gap.high, '+')}). "
        f"{met} of {len(report.aims)} aims are met."
    )


def _tile(report: Report, metric: str, scale: float) -> str:
    pairs = ""
    for model in (BASELINE, KALEIDO):
        estimate = report.estimates.get((model, scale), {}).get(metric)
        if estimate is not None:
            pairs += (
                f'<div class="{model}"><b>{_number(estimate.value)}</b>'
                f"<span>{NAMES[model]}</span></div>"
            )
    title, note = TITLES[metric]
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
        label = NAMES[model] + (f" <br>CFG {scale:g}" if scale else "")
        at = f" at CFG {scale:g}" if scale else ""
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
    figures = "".join(_chart(report, metric) for metric in CURVES)
    return (
        '<p class="legend"><span class="baseline"><i></i>Baseline</span>'
        '<span class="kaleido"><i></i>Kaleido</span>'
        '<span class="data"><i></i>Real pictures</span></p>'
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
    title, note = TITLES[metric]
    real = report.data[metric].value if metric in report.data else None
    chart = line_chart(title, title, lines, real)
    return f"<figure><figcaption><b>{escape(title)}</b>{escape(note)}</figcaption>{chart}</figure>"


def _change_table(report: Report) -> str:
    if not report.changes:
        return "<p>Not measured: it needs both models at two guidance scales.</p>"
    scales = _scales(report)
    rows = [
        (TITLES[c.metric][0], *(_spread(i, "+") for i in (c.baseline, c.kaleido, c.difference)))
        for c in report.changes
    ]
    table = _table(("Metric", "Baseline", "Kaleido", "Kaleido minus baseline"), rows)
    return (
        f"<p>Change from CFG {scales[0]:g} to CFG {scales[-1]:g}, paired by caption and seed. The "
        f"last column is the headline: the difference of the two differences.</p>{table}"
    )


def _aims(report: Report) -> str:
    return _checks(report.aims) if report.aims else "<p>Not measured.</p>"


def _parity(report: Report) -> str:
    words = (
        f"<p>At CFG {PARITY_CFG:g} both models must fit the data equally well. Otherwise the "
        "comparison would only show that one was trained for longer.</p>"
    )
    return words + (_checks(report.parity.checks) if report.parity.checks else "")


def _checks(checks: Iterable[Check]) -> str:
    rows = [
        (
            escape(check.name),
            _spread(check.interval),
            f"{'at least' if check.sign == '>=' else 'at most'} {check.limit:g}",
            '<span class="good">met</span>' if check.passed else '<span class="bad">missed</span>',
        )
        for check in checks
    ]
    return _table(("Condition", "Value", "Bound", ""), rows)


def _judge(report: Report) -> str:
    named = {
        "box": "boxes found at IoU of 0.5 or more",
        "adherence": "boxes found with the right shape",
        "count": "pictures with the right number of objects",
        "shape": "shapes right, of boxes found",
        "colour": "colours right, of boxes found",
        "texture": "textures right, of boxes found",
        "background": "backgrounds right",
    }
    rows = [
        (words, f"{100 * report.ceiling[name]:.1f} %")
        for name, words in named.items()
        if name in report.ceiling
    ]
    return (
        "<p>A second detector, of another architecture than the one that made the training "
        "latents and trained on other scenes, scores adherence and modes. Its own accuracy on "
        "real, held-out renders is the ceiling of what any model can score.</p>"
        + _table(("Ceiling", ""), rows)
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
        for metric, (title, note) in TITLES.items()
        if any(metric in s for s in sets)
    ]
    return (
        "<p>Values with 95 % intervals below them. Fréchet distance, recall and Vendi depend on "
        "the number of pictures: compare them only with reports of equal n on equal features. "
        "None of them is an FID.</p>" + _table(header, rows)
    )


def _compared(report: Report) -> str:
    plan = report.plan
    captions, seeds = plan["captions"], plan["seeds"]
    images = len(captions) * len(seeds) * plan["n"]
    sources = ", ".join(f"{NAMES[m]} ({source})" for m, source in report.sources.items())
    facts = {
        "Models": escape(sources),
        "Pictures": f"{images} for each model and scale: {len(captions)} captions, "
        f"{plan['n']} samples, seeds {', '.join(map(str, seeds))}",
        "Sampler": f"{plan['steps']} steps; z unguided at temperature {plan['temperature']:g}, "
        f"top-p {plan['top_p']:g}",
        "Reference": "as many real renders, drawn from the data's distribution given each caption; "
        "“real pictures” are a second such set",
        "Features": f"{escape(report.judge)}: three levels of the judge pooled to coarse grids, "
        "projected on the principal components of renders",
        "Not judged": "rotation",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts.items())
    items = "".join(f"<li>{escape(caption)}</li>" for caption in captions)
    return (
        f'<dl>{listed}</dl><h3>Captions</h3><ol class="captions">{items}</ol>'
        f"<h3>To make this page again</h3><pre><code>{escape(report.command)}</code></pre>"
    )


def _scales(report: Report) -> list[float]:
    return sorted({scale for _, scale in report.estimates})


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out cells that are HTML already."""
    head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _spread(interval: Interval, sign: str = "") -> str:
    value = _number(interval.value, sign)
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return value
    return f"{value}<small>{_number(interval.low, sign)} to {_number(interval.high, sign)}</small>"


def _number(value: float, sign: str = "") -> str:
    if not math.isfinite(value):
        return "not measured"
    places = 3 if abs(value) < 1.0 else 2 if abs(value) < 100.0 else 0
    return f"{value:{sign}.{places}f}".replace("-", "−")
