"""Render the toy example as a page, for ``kaleido evaluate --toy``."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup

from pipelines.core.files import atomic_write
from pipelines.evaluate.metrics.compare import BASELINE, KALEIDO
from pipelines.evaluate.report.contents import NAMES
from pipelines.evaluate.report.document import render_template
from pipelines.scenes.toy import CLASSES, MODES, Drawn, draw_toy
from pipelines.workspace.workspace import Workspace

SIDE = 200
"""Side of a panel in pixels; it shows the plane from -REACH to REACH."""

REACH = 4.5
SHOWN = 150
"""Points per class in a panel."""

METRICS = {
    "entropy.mode": "Entropy of the two modes of a class, in nats (balanced: log 2 = 0.693)",
    "distance": "Mean distance from the nearest mode of the class, in standard deviations",
}


@dataclass(frozen=True)
class ToySummary:
    """The files that were written.

    Attributes:
        report: The HTML page.
        json: The same numbers for programs.
        rows: The rows of ``report.json``.
    """

    report: Path
    json: Path
    rows: list[dict[str, Any]]


def evaluate_toy(workspace: Workspace) -> ToySummary:
    """Draw the toy and write ``reports/toy/index.html`` and ``report.json``."""
    drawn = draw_toy()
    rows = toy_rows(drawn)
    folder = workspace.reports("toy")
    with workspace.lock("reports/toy"):
        atomic_write(folder / "report.json", (json.dumps({"rows": rows}, indent=1) + "\n").encode())
        atomic_write(folder / "index.html", render_toy(drawn, rows).encode("utf-8"))
    return ToySummary(folder / "index.html", folder / "report.json", rows)


def toy_rows(drawn: Sequence[Drawn]) -> list[dict[str, Any]]:
    """List mean and range over the seeds of every number."""
    return [
        {
            "model": each.model,
            "cfg": each.scale,
            "metric": metric,
            "value": sum(values) / len(values),
            "low": min(values),
            "high": max(values),
            "seeds": len(values),
        }
        for each in drawn
        for metric, values in (("entropy.mode", each.entropies()), ("distance", each.distances()))
    ]


def render_toy(drawn: Sequence[Drawn], rows: Sequence[dict[str, Any]]) -> str:
    """Render the page."""
    scales = sorted({each.scale for each in drawn})
    header = ("Metric", "Model", *(f"CFG {scale:g}" for scale in scales))
    numbers = [
        (
            words,
            NAMES[model],
            *(f"{_value(rows, model, scale, metric):.3f}" for scale in scales),
        )
        for metric, words in METRICS.items()
        for model in dict.fromkeys(each.model for each in drawn)
    ]
    strongest = scales[-1]
    left, kept = (_value(rows, model, strongest, "entropy.mode") for model in (BASELINE, KALEIDO))
    return render_template(
        "toy.html",
        "pipelines.scenes",
        title="Kaleido: the toy",
        strongest=strongest,
        left=left,
        kept=kept,
        most=math.log(2),
        figure=_figure(drawn, scales),
        header=header,
        rows=numbers,
    )


def _figure(drawn: Sequence[Drawn], scales: Sequence[float]) -> Markup:
    panels = []
    for each in drawn:
        column, row = scales.index(each.scale), int(each.model == "kaleido")
        panels.append(_panel(each, column * SIDE, row * SIDE))
    spoken = (
        "Samples in the plane, baseline above Kaleido, guidance increasing to the right. The "
        "baseline's samples gather at the outer mode of each class; Kaleido's stay at both modes."
    )
    return Markup(  # only numbers and constant strings
        f'<figure><svg viewBox="0 0 {SIDE * len(scales)} {2 * SIDE}" role="img" '
        f'aria-label="{spoken}">{"".join(panels)}</svg>'
        "<figcaption>Crosses mark the modes. Top: p(x|c); bottom: p(z|c) p(x|z,c).</figcaption>"
        "</figure>"
    )


def _panel(each: Drawn, x: int, y: int) -> str:
    parts = [
        f'<rect x="{x + 2}" y="{y + 2}" width="{SIDE - 4}" height="{SIDE - 4}" fill="none" '
        'class="rule"/>',
        f'<text x="{x + 10}" y="{y + 18}">{NAMES[each.model]}, CFG {each.scale:g}</text>',
    ]
    for number in range(len(CLASSES)):
        colour = ("baseline", "kaleido")[number]
        dots = "".join(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="1.6"/>'
            for a, b in _place(each.points[0][number][:SHOWN], x, y)
        )
        parts.append(f'<g fill="var(--{colour})" fill-opacity="0.6">{dots}</g>')
        parts += [
            f'<path class="axis" d="M{a - 4:.1f} {b:.1f}h8M{a:.1f} {b - 4:.1f}v8"/>'
            for a, b in _place(MODES[number], x, y)
        ]
    return "".join(parts)


def _place(points: torch.Tensor, x: int, y: int) -> list[tuple[float, float]]:
    """Return the pixel positions of the points inside the panel."""
    scaled = (points * torch.tensor([1.0, -1.0]) / REACH + 1.0) * SIDE / 2.0
    inside = ((scaled > 3.0) & (scaled < SIDE - 3.0)).all(1)
    return [(x + a, y + b) for a, b in scaled[inside].tolist()]


def _value(rows: Sequence[dict[str, Any]], model: str, scale: float, metric: str) -> float:
    return next(
        float(row["value"])
        for row in rows
        if (row["model"], row["cfg"], row["metric"]) == (model, scale, metric)
    )
