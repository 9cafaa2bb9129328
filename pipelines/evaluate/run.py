"""`kaleido evaluate`: baseline against Kaleido, from captions to a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, Advance, Progress
from pipelines.core.workspace import Workspace
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.captions import captions_of, fresh_captions, require_scenes
from pipelines.evaluate.cells import CellStore, bundle_hash
from pipelines.evaluate.compare import BASELINE, KALEIDO, aims, changes, parity
from pipelines.evaluate.fidelity import NEIGHBOURS
from pipelines.evaluate.judge import Judge
from pipelines.evaluate.measure import measure
from pipelines.evaluate.observe import SHOWN, Observed, Source, join, observe, real_of, samples_of
from pipelines.evaluate.page import render
from pipelines.evaluate.reference import asked_shapes
from pipelines.evaluate.report import Grid, Report
from pipelines.evaluate.rows import report_json, rows_of
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import DrawOptions

MOST_AT_ONCE = 64
"""Images drawn together, at most."""


@dataclass(frozen=True)
class EvaluateSummary:
    """What was written.

    Attributes:
        report: The HTML page.
        json: The same numbers for programs.
        void: Why the comparison is void; empty if it is sound.
        cells: Parts of the work: a model or real pictures, a guidance scale, a seed.
        reused: Cells that an earlier run had finished.
        rows: As in ``report.json``.
    """

    report: Path
    json: Path
    void: str
    cells: int
    reused: int
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
    cfg_end: float


def evaluate(
    workspace: Workspace,
    name: str = "evaluation",
    captions: Sequence[str] | None = None,
    embedded: bool = False,
    progress: Progress = SILENT,
) -> EvaluateSummary:
    """Sample, judge, measure and write ``reports/NAME/index.html`` and ``report.json``.

    Finished cells are kept in ``logs/evaluate/NAME``. A later run of the same name takes those
    whose models, settings, captions and code are unchanged, and removes the others.

    Args:
        workspace: Holds the models and the settings (``evaluate``, and ``sample`` for the prior's
            temperature and top-p). Where it has no models, the embedded ones serve.
        name: The report's folder; an earlier report there is replaced.
        captions: What to draw; None takes held-out captions: of the workspace's data for its own
            models, of freshly made scenes for the embedded ones.
        embedded: Compare the embedded models even if the workspace has its own; its data do not
            matter then.
        progress: Listener.

    Raises:
        InputMissing: If captions, models or the judge are missing.
        KaleidoError: If the workspace's data are not scenes of the normal variant, a caption is not
            one of scenes, or a setting makes no sense.
    """
    settings = workspace.settings.evaluate
    if not embedded:
        require_scenes(workspace)
    bundles = _load(workspace, embedded)
    judge = Judge.load(embedded_path("judge"))
    plan = Plan(
        tuple(_captions(workspace, bundles, progress) if captions is None else captions),
        settings.n,
        tuple(sorted(set(settings.cfg))),
        settings.steps,
        settings.seeds,
        workspace.settings.sample.temperature,
        workspace.settings.sample.top_p,
        workspace.settings.sample.cfg_end,
    )
    _check(plan)
    folder = workspace.reports(name)
    with workspace.lock(f"reports/{name}"):
        common = {
            "captions": plan.captions,
            "n": plan.n,
            "size": bundles[KALEIDO].diffusion.image_size,
            "judge": [judge.name, asdict(judge.config)],
        }
        store = CellStore(workspace.logs / "evaluate" / name, common, progress)
        seen = _observe_all(plan, bundles, judge, store, progress)
        report = _compare(plan, bundles, judge, seen, name)
        rows = rows_of(report)
        atomic_write(folder / "report.json", report_json(report, rows))
        atomic_write(folder / "index.html", render(report).encode("utf-8"))
        store.prune()
    return EvaluateSummary(
        folder / "index.html",
        folder / "report.json",
        "" if report.parity.sound else report.parity.reason,
        store.made + store.reused,
        store.reused,
        rows,
    )


def _load(workspace: Workspace, embedded: bool) -> dict[str, Bundle]:
    bundles = {m: load_bundle(workspace, m == BASELINE, embedded) for m in (BASELINE, KALEIDO)}
    if len({bundle.source for bundle in bundles.values()}) > 1:
        lacking = next(m for m, bundle in bundles.items() if bundle.source == "embedded")
        flag = " --baseline" if lacking == BASELINE else ""
        raise InputMissing(
            lacking,
            "this workspace has not trained it, and an embedded model is no fair match.",
            f"Run `kaleido train diffusion{flag}`.",
        )
    seen = _images_seen(bundles)
    if seen[BASELINE] < seen[KALEIDO]:
        raise KaleidoError(
            "the baseline",
            f"it has seen {seen[BASELINE]:,} images and Kaleido {seen[KALEIDO]:,}, so a comparison "
            "would flatter Kaleido.",
            "Train it on as many, or more: `kaleido train diffusion --baseline` with --steps.",
        )
    return bundles


def _images_seen(bundles: Mapping[str, Bundle]) -> dict[str, int]:
    return {model: bundle.diffusion.images_seen for model, bundle in bundles.items()}


def _captions(workspace: Workspace, bundles: Mapping[str, Bundle], progress: Progress) -> list[str]:
    wanted = workspace.settings.evaluate.captions
    if bundles[KALEIDO].source == "embedded":
        progress.message("The embedded models are compared, on captions of new held-out scenes.")
        return fresh_captions(wanted)
    found = captions_of(workspace, wanted)
    if len(found) < wanted:
        progress.message(f"The data hold out {len(found)} captions; {wanted} were asked for.")
    return found


def _check(plan: Plan) -> None:
    if plan.n < 2:
        raise KaleidoError(
            f"n = {plan.n}", "similarity needs two pictures of a caption.", "Use --n 16."
        )
    for what, values in (("captions", plan.captions), ("seeds", plan.seeds)):
        repeated = [value for value, times in Counter(values).items() if times > 1]
        if repeated:
            raise KaleidoError(what, f"{repeated[0]!r} occurs twice.", "Name each one once.")
    if len(plan.captions) * plan.n * len(plan.seeds) <= NEIGHBOURS:
        raise KaleidoError(
            "captions, n and seeds",
            f"precision and recall need more than {NEIGHBOURS} pictures of a model.",
            "Use a larger --captions, --n, or more --seeds.",
        )
    for caption in plan.captions:
        asked_shapes(caption)


def _observe_all(
    plan: Plan, bundles: Mapping[str, Bundle], judge: Judge, store: CellStore, progress: Progress
) -> dict[tuple[str, float], Observed]:
    sources = _sources(plan, bundles)
    each = len(plan.captions) * plan.n
    seen = {}
    with progress.task("evaluate", each * len(sources) * len(plan.seeds), "image") as advance:
        for (model, cfg), (source, facts) in sources.items():
            label = f"{model} CFG {cfg:g}" if model in bundles else model
            cells = []
            for seed in plan.seeds:
                noted = _noting(advance, label)
                make = partial(observe, source, judge, plan.captions, seed, noted)
                name = f"{label} seed {seed}".replace(" ", "-").lower()
                cell, there = store.get(name, facts | {"seed": seed}, make)
                if there:
                    advance(each, f"{label}: already there")
                cells.append(cell)
            seen[model, cfg] = join(cells)
    return seen


def _sources(
    plan: Plan, bundles: Mapping[str, Bundle]
) -> dict[tuple[str, float], tuple[Source, dict[str, Any]]]:
    """Sources of pictures, each with what its pictures depend on besides captions, n and seed."""
    size = bundles[KALEIDO].diffusion.image_size
    sources: dict[tuple[str, float], tuple[Source, dict[str, Any]]] = {
        (purpose, 0.0): (real_of(plan.n, purpose, size), {"real": purpose})
        for purpose in ("reference", "data")
    }
    for model, bundle in bundles.items():
        for scale in plan.cfg:
            options = DrawOptions(
                n=plan.n,
                cfg=scale,
                steps=plan.steps,
                temperature=plan.temperature,
                top_p=plan.top_p,
                cfg_end=plan.cfg_end,
                batch_size=min(plan.n, MOST_AT_ONCE),
            )
            facts = {"model": bundle_hash(bundle), "options": asdict(options)}
            sources[model, scale] = samples_of(bundle, options), facts
    return sources


def _noting(advance: Advance, label: str) -> Advance:
    return lambda n=1: advance(n, label)


def _compare(
    plan: Plan,
    bundles: Mapping[str, Bundle],
    judge: Judge,
    seen: Mapping[tuple[str, float], Observed],
    name: str,
) -> Report:
    reference, ceiling = seen["reference", 0.0], judge.config.ceiling
    asked = [asked_shapes(caption) for caption in plan.captions]
    estimates = {
        key: measure(value, reference, asked, ceiling["adherence"])
        for key, value in seen.items()
        if key[0] != "reference"
    }
    data = estimates.pop(("data", 0.0))
    return Report(
        plan=asdict(plan),
        judge=judge.name,
        ceiling=dict(ceiling),
        sources={model: bundle.source for model, bundle in bundles.items()},
        images_seen=_images_seen(bundles),
        z_kinds={model: bundle.z_kinds for model, bundle in bundles.items()},
        parity=parity(estimates, data),
        changes=changes(estimates),
        aims=aims(estimates),
        estimates=estimates,
        data=data,
        grids=_grids(plan, seen),
        command=_command(plan, name, bundles[KALEIDO].source == "embedded"),
    )


def _grids(plan: Plan, seen: Mapping[tuple[str, float], Observed]) -> list[Grid]:
    ends = sorted({plan.cfg[0], plan.cfg[-1]}, reverse=True)
    rows = [("data", 0.0), *((model, cfg) for cfg in ends for model in (BASELINE, KALEIDO))]
    return [
        Grid(caption, [(*row, seen[row].shown[number]) for row in rows])
        for number, caption in enumerate(plan.captions[: SHOWN[0]])
    ]


def _command(plan: Plan, name: str, embedded: bool) -> str:
    return (
        f"kaleido evaluate --captions {len(plan.captions)} --n {plan.n} --steps {plan.steps} "
        f"--cfg {','.join(f'{value:g}' for value in plan.cfg)} "
        f"--seeds {','.join(map(str, plan.seeds))} --name {name}"
        + (" --embedded" if embedded else "")
    )
