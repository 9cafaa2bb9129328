"""The report's numbers for programs: report.json."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.evaluate.metrics.compare import RIVAL, Estimates
from pipelines.evaluate.metrics.plain_features import SPACES
from pipelines.evaluate.report.contents import Report

VERSION = 7


def rows_of(report: Report) -> list[dict[str, Any]]:
    """One row a source and metric.

    ``n`` is the number of pictures that the value was computed from, ``skipped`` the number of
    groups (a caption under a seed) that gave no value, having too few valid ones, say; ``low`` and
    ``high`` are NaN where no interval can be given.
    """
    groups: list[tuple[str, float | None, Estimates]] = [("data", None, report.data)]
    groups += [(model, cfg, values) for (model, cfg), values in report.estimates.items()]
    plan = report.plan
    rows = []
    for model, cfg, values in groups:
        seeds, n = report.real if model == "data" else (plan["seeds"], plan["n"])
        total = len(plan["captions"]) * n * len(seeds)
        for metric, estimate in values.items():
            interval = estimate.interval()
            rows.append(
                {
                    "model": model,
                    "z_kinds": list(report.z_kinds.get(model, ())),
                    "guidance": _guidance(model, cfg),
                    "cfg": cfg,
                    "metric": full_name(metric, report.features, report.tokenizer),
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "n": total if estimate.pictures is None else estimate.pictures,
                    "skipped": estimate.skipped,
                    "n_per_caption": n,
                    "seeds": list(seeds),
                }
            )
    return rows


def _guidance(model: str, cfg: float | None) -> str:
    if cfg is None:
        return "none"
    return "cfg in a window" if model == RIVAL else "cfg"


def full_name(metric: str, features: str, tokenizer: str = "") -> str:
    """Name a metric with what it depends on: the features, and that it saw valid pictures only.

    z's own metrics depend on neither; those of tokens on the tokenizer.
    """
    if metric.startswith("z."):
        return metric
    if metric.split(".")[0] == "tokens":
        return f"{metric}[{tokenizer}]"
    name, _, space = metric.rpartition(".")
    if space in SPACES:
        return f"{name}[{SPACES[space]}]"
    name, valid, _ = metric.partition(".valid")
    return f"{name}[{features}, valid]" if valid else f"{name}[{features}]"


def report_json(report: Report, rows: list[dict[str, Any]]) -> bytes:
    """Write ``report.json``; numbers that are not finite become null."""
    content = {
        "version": VERSION,
        "plan": report.plan,
        "clusters": report.clusters,
        "features": report.features,
        "ceiling": report.notes.ceiling,
        "warnings": report.notes.warnings,
        "sources": report.sources,
        "images_seen": report.images_seen,
        "void": report.void,
        "parity": asdict(report.parity) if report.parity else None,
        "changes": [asdict(change) for change in report.changes],
        "aims": [asdict(check) for check in report.aims],
        "gaps": [asdict(gap) for gap in report.gaps],
        "command": report.command,
        "rows": rows,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False).encode()


def finite(value: Any) -> Any:
    """Replace numbers that JSON cannot write by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
