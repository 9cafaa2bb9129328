"""`kaleido evaluate`: baseline against Kaleido, from captions to a report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, Advance, Progress
from pipelines.core.workspace import Workspace
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.compare import BASELINE, KALEIDO, Estimates, aims, changes, parity
from pipelines.evaluate.judge import Judge
from pipelines.evaluate.measure import measure
from pipelines.evaluate.observe import Observed, Source, observe, real_of, samples_of
from pipelines.evaluate.reference import asked_shapes
from pipelines.evaluate.report import Grid, Report, render
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import DrawOptions
from pipelines.sample.run import heldout_captions

MOST_AT_ONCE = 64
"""Images drawn together, at most."""

SHOWN = (6, 8)
"""Captions in the report's grids, and pictures of each."""


@dataclass(frozen=True)
class EvaluateSummary:
    """What was written.

    Attributes:
        report: The HTML page.
        json: The same numbers for programs.
        void: Why the comparison is void; empty if it is sound.
        rows: As in ``report.json``.
    """

    report: Path
    json: Path
    void: str
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Plan:
    """What is compared: everything that decides the numbers besides the weights."""

    captions: tuple[str, ...]
    n: int
    cfg: tuple[float, ...]
    steps: int
    seeds: tuple[int, ...]
    temperature: float
    top_p: float


def evaluate(
    workspace: Workspace,
    name: str = "evaluation",
    models: Sequence[str] = (BASELINE, KALEIDO),
    captions: Sequence[str] | None = None,
    n: int | None = None,
    cfg: Sequence[float] | None = None,
    steps: int | None = None,
    seeds: Sequence[int] | None = None,
    embedded: bool = False,
    judge: Judge | None = None,
    progress: Progress = SILENT,
) -> EvaluateSummary:
    """Sample, judge, measure and write ``reports/NAME/index.html`` and ``report.json``.

    Args:
        workspace: Holds the models, or none, and then the embedded ones serve.
        name: The report's folder; an earlier report there is replaced.
        models: ``baseline``, ``kaleido`` or both.
        captions: What to draw; None takes held-out captions of the workspace's data.
        n: Samples a caption and seed, at least 2. None takes the workspace's setting, as for
            `cfg` (guidance scales), `steps` (of the sampler) and `seeds`.
        cfg: See `n`.
        steps: See `n`.
        seeds: See `n`.
        embedded: Compare the embedded models even if the workspace has its own.
        judge: None takes the embedded one.
        progress: Listener.

    Raises:
        InputMissing: If captions, models or the judge are missing.
        KaleidoError: If a caption is not one of scenes, or an option makes no sense.
    """
    settings = workspace.settings.evaluate
    plan = Plan(
        tuple(captions if captions is not None else heldout_captions(workspace, settings.captions)),
        n or settings.n,
        tuple(sorted(set(cfg or settings.cfg))),
        steps or settings.steps,
        tuple(seeds or settings.seeds),
        workspace.settings.sample.temperature,
        workspace.settings.sample.top_p,
    )
    _check(plan, models)
    asked = [asked_shapes(caption) for caption in plan.captions]
    judge = judge or Judge.load(embedded_path("judge"))
    bundles = _load(workspace, models, embedded)
    seen = _observe_all(plan, bundles, judge, progress)
    reference = seen.pop(("reference", 0.0))
    estimates = {key: measure(value, reference, asked) for key, value in seen.items()}
    data = estimates.pop(("data", 0.0))
    report = Report(
        plan=asdict(plan),
        judge=judge.name,
        ceiling=dict(judge.config.ceiling),
        sources={model: bundle.source for model, bundle in bundles.items()},
        parity=parity(estimates, data),
        changes=changes(estimates),
        aims=aims(estimates, judge.config.ceiling.get("adherence", 1.0)),
        estimates=estimates,
        data=data,
        grids=_grids(plan, seen),
        command=_command(plan, name, embedded),
    )
    rows = _rows(report, plan, {m: bundle.z_kinds for m, bundle in bundles.items()})
    folder = workspace.reports(name)
    with workspace.lock(f"reports/{name}"):
        atomic_write(folder / "report.json", _as_json(report, rows))
        atomic_write(folder / "index.html", render(report).encode("utf-8"))
    void = "" if report.parity.sound else report.parity.reason
    return EvaluateSummary(folder / "index.html", folder / "report.json", void, rows)


def _check(plan: Plan, models: Sequence[str]) -> None:
    for model in models:
        if model not in (BASELINE, KALEIDO):
            raise KaleidoError(model, "there is no such model.", f"Known: {BASELINE}, {KALEIDO}.")
    if plan.n < 2:
        raise KaleidoError("n", "diversity needs two samples of a caption.", "Use --n 16.")
    if len(set(plan.captions)) < len(plan.captions):
        raise KaleidoError("captions", "one occurs twice.", "Name each caption once.")
    if len(set(plan.seeds)) < len(plan.seeds):
        raise KaleidoError("seeds", "one occurs twice.", "Name each seed once.")


def _load(workspace: Workspace, models: Sequence[str], embedded: bool) -> dict[str, Bundle]:
    bundles = {m: load_bundle(workspace, m == BASELINE, embedded) for m in models}
    if len({bundle.source for bundle in bundles.values()}) > 1:
        lacking = next(m for m, bundle in bundles.items() if bundle.source == "embedded")
        flag = " --baseline" if lacking == BASELINE else ""
        raise InputMissing(
            lacking,
            "this workspace has not trained it, and an embedded model is no fair match.",
            f"Run `kaleido train diffusion{flag}`.",
        )
    seen = {m: bundle.diffusion.images_seen for m, bundle in bundles.items()}
    if len(set(seen.values())) > 1:
        raise KaleidoError(
            "baseline and diffusion model",
            f"they were not trained on as many images ({seen}), so comparing them says nothing.",
            "Train the other one as long, with the same --steps and --batch-size.",
        )
    return bundles


def _observe_all(
    plan: Plan, bundles: Mapping[str, Bundle], judge: Judge, progress: Progress
) -> dict[tuple[str, float], Observed]:
    size = next(iter(bundles.values())).diffusion.image_size
    sources: dict[tuple[str, float], Source] = {
        (purpose, 0.0): real_of(plan.n, purpose, size) for purpose in ("reference", "data")
    }
    for model, bundle in bundles.items():
        for scale in plan.cfg:
            options = DrawOptions(
                n=plan.n,
                cfg=scale,
                steps=plan.steps,
                temperature=plan.temperature,
                top_p=plan.top_p,
                batch_size=min(plan.n, MOST_AT_ONCE),
            )
            sources[model, scale] = samples_of(bundle, options)
    each = len(plan.captions) * len(plan.seeds) * plan.n
    seen = {}
    with progress.task("evaluate", each * len(sources), "image") as advance:
        for key, source in sources.items():
            noted = _noting(advance, key)
            seen[key] = observe(source, judge, plan.captions, plan.seeds, SHOWN, noted)
    return seen


def _noting(advance: Advance, key: tuple[str, float]) -> Advance:
    note = f"{key[0]} CFG {key[1]:g}" if key[1] else key[0]
    return lambda n=1: advance(n, note)


def _grids(plan: Plan, seen: Mapping[tuple[str, float], Observed]) -> list[Grid]:
    ends = sorted({plan.cfg[0], plan.cfg[-1]}, reverse=True)
    models = dict.fromkeys(model for model, _ in seen)
    return [
        Grid(
            caption,
            [
                (model, cfg, seen[model, cfg].shown[number])
                for cfg in (0.0, *ends)
                for model in models
                if (model, cfg) in seen
            ],
        )
        for number, caption in enumerate(plan.captions[: SHOWN[0]])
    ]


def _command(plan: Plan, name: str, embedded: bool) -> str:
    return (
        f"kaleido evaluate --captions {len(plan.captions)} --n {plan.n} --steps {plan.steps} "
        f"--cfg {','.join(f'{value:g}' for value in plan.cfg)} "
        f"--seeds {','.join(map(str, plan.seeds))} --name {name}"
        + (" --embedded" if embedded else "")
    )


def _rows(report: Report, plan: Plan, z_kinds: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    groups: list[tuple[str, float | None, Estimates]] = [("data", None, report.data)]
    groups += [(model, cfg, values) for (model, cfg), values in report.estimates.items()]
    rows = []
    for model, cfg, values in groups:
        for metric, estimate in values.items():
            interval = estimate.interval()
            rows.append(
                {
                    "model": model,
                    "z_kinds": list(z_kinds.get(model, ())),
                    "guidance": "cfg" if cfg is not None else "none",
                    "cfg": cfg,
                    "metric": full_name(metric, report.judge),
                    "value": interval.value,
                    "low": interval.low,
                    "high": interval.high,
                    "n": len(plan.captions) * plan.n * len(plan.seeds),
                    "n_per_caption": plan.n,
                    "seeds": list(plan.seeds),
                }
            )
    return rows


def full_name(metric: str, judge: str) -> str:
    """Name a metric with the network that it depends on; z's own metrics depend on none."""
    return metric if metric.startswith("z.") else f"{metric}[{judge}]"


def _as_json(report: Report, rows: list[dict[str, Any]]) -> bytes:
    content = {
        "version": 1,
        "plan": report.plan,
        "judge": {"name": report.judge, "ceiling": report.ceiling},
        "sources": report.sources,
        "void": "" if report.parity.sound else report.parity.reason,
        "parity": asdict(report.parity),
        "changes": [asdict(change) for change in report.changes],
        "aims": [asdict(check) for check in report.aims],
        "command": report.command,
        "rows": rows,
    }
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot write by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
