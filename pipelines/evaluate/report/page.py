"""The report as one HTML page that needs nothing besides itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from PIL import Image

from pipelines.evaluate.metrics.compare import (
    AIMS_CFG,
    BASELINE,
    GIVEN,
    KALEIDO,
    PARITY_CFG,
    RIVAL,
    WINDOW,
    Estimates,
)
from pipelines.evaluate.report.charts import Line, line_chart
from pipelines.evaluate.report.contents import (
    GAP_COLUMNS,
    NAMES,
    Grid,
    Report,
    change_columns,
    change_rows,
    compared_models,
    gap_rows,
    guidance_of,
    searched,
    verdict,
)
from pipelines.evaluate.report.document import render_template
from pipelines.sample.choice import Decoding

GAP = 4
"""Pixels between the pictures of a strip."""

CURVES = (
    *("vendi", "vendi.valid", "mss", "mss.valid", "recall", "precision", "frechet", "edges"),
    *("mmd", "cmmd", "clip"),
)
TILES = ("vendi", "recall", "mss", "frechet")


def render(report: Report) -> str:
    """Write the page."""
    columns = report.columns
    sets = [report.data, *(report.estimates[key] for key in columns)]
    models = [source for source in report.sources if source not in (RIVAL, GIVEN)]
    return render_template(
        "report.html",
        title=f"Kaleido report: {' against '.join(NAMES[model] for model in models)}",
        report=report,
        plan=report.plan,
        names=NAMES,
        verdict=verdict(report),
        parity_cfg=PARITY_CFG,
        aims_cfg=AIMS_CFG,
        window=WINDOW if RIVAL in report.sources else None,
        grids=[_grid(grid) for grid in report.grids],
        tiles=[_tile(report, metric) for metric in TILES],
        change_header=("Metric", *change_columns(report)),
        changes=list(change_rows(report)),
        gap_header=GAP_COLUMNS,
        gaps=list(gap_rows(report)),
        legend=(*report.sources, "data"),
        charts=list(_charts(report)),
        number_header=("Metric", "Real", *(f"{NAMES[m]}, CFG {scale:g}" for m, scale in columns)),
        valid=_valid(report, sets) if report.notes.ceiling else None,
        numbers=list(_numbers(report, sets)),
        compared=_compared(report),
    )


def _grid(grid: Grid) -> dict[str, Any]:
    strips = []
    for source, scale, pictures in grid.rows:
        at = f" at CFG {scale:g}" if source != "reference" else ""
        strips.append(
            {
                "source": source,
                "name": NAMES[source],
                "scale": f"{scale:g}" if at else "",
                "image": strip_of(pictures),
                "alt": f"{len(pictures)} pictures, {NAMES[source]}{at}, for: {grid.caption}",
            }
        )
    return {"caption": grid.caption, "strips": strips}


def strip_of(pictures: np.ndarray) -> str:
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


def _tile(report: Report, metric: str) -> dict[str, Any]:
    title, note = report.titles[metric]
    values = [
        (source, report.estimates[source, report.highest][metric].value)
        for source in report.sources
        if metric in report.estimates.get((source, report.highest), {})
    ]
    return {"title": title, "note": note, "values": values}


def _charts(report: Report) -> Iterator[dict[str, Any]]:
    for metric in (*CURVES, *report.notes.curves):
        lines = [line for source in report.sources if (line := _line(report, source, metric))]
        if lines:
            title, note = report.titles[metric]
            real = report.data[metric].value if metric in report.data else None
            yield {"title": title, "note": note, "svg": line_chart(title, title, lines, real)}


def _line(report: Report, source: str, metric: str) -> Line | None:
    points = [
        (scale, values[metric].interval())
        for (name, scale), values in sorted(report.estimates.items())
        if name == source and metric in values
    ]
    return Line(source, points) if points else None


def _numbers(report: Report, sets: Sequence[Estimates]) -> Iterator[tuple[str, str, list[Any]]]:
    for metric, (title, note) in report.titles.items():
        if any(metric in values for values in sets):
            cells = [values[metric].interval() if metric in values else None for values in sets]
            yield title, note, cells


def _valid(report: Report, sets: Sequence[Estimates]) -> Mapping[str, Any]:
    """Count the valid pictures that metrics over valid pictures used."""
    groups = len(report.plan["captions"]) * len(report.plan["seeds"])
    used = [values["vendi.valid"] for values in sets]
    return {
        "groups": groups,
        "total": groups * report.plan["n"],
        "cells": [(estimate.pictures, estimate.skipped) for estimate in used],
    }


def _compared(report: Report) -> list[tuple[str, str]]:
    plan = report.plan
    captions, seeds = plan["captions"], plan["seeds"]
    images = len(captions) * len(seeds) * plan["n"]
    drawn = [source for source in (BASELINE, RIVAL, KALEIDO) if source in report.sources]
    rows = [
        ("Sources", "; ".join(compared_models(report))),
        (
            "Pictures",
            f"{images} for each source and scale: {len(captions)} captions in "
            f"{len(set(report.clusters))} clusters, {plan['n']} samples, seeds "
            f"{', '.join(map(str, seeds))}",
        ),
        (
            "Sampler",
            f"{plan['steps']} steps; z unguided, {_decoding(plan['decoding'])}; "
            f"{_candidates(plan)}; x guided at noise levels "
            + "; ".join(f"{guidance_of(plan, source)} ({NAMES[source]})" for source in drawn),
        ),
        ("Copies", f"searched for among {searched(plan['training'])}"),
        ("Reference", report.notes.reference),
        ("Features", report.notes.features),
        ("Not judged", report.notes.not_judged),
    ]
    return [(name, text) for name, text in rows if text]


def _decoding(plan: Mapping[str, float]) -> str:
    """Describe how z were drawn; settings that change nothing are not named."""
    usual = asdict(Decoding())
    changed = {name: value for name, value in plan.items() if value != usual[name]}
    named = [f"{name.replace('_', ' ')} {value:g}" for name, value in changed.items()]
    return ", ".join(named) or "from the prior's own distribution"


def _candidates(plan: Mapping[str, Any]) -> str:
    most = plan["checks"]["z_candidates"]
    return "the first z drawn" if most == 1 else f"the first sound one of at most {most}"
