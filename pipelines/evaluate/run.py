"""`kaleido evaluate`: baseline against Kaleido, from captions to a report."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.files import atomic_write, remove_leftovers
from pipelines.core.progress import SILENT, Progress
from pipelines.evaluate.adherence.tokens import retokenizer, shipped_retokenizer
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.evaluate.cache import CellStore
from pipelines.evaluate.given import DIVERSITY, unlike_diversity
from pipelines.evaluate.metrics.calibration import calibration
from pipelines.evaluate.metrics.compare import (
    BASELINE,
    GIVEN,
    KALEIDO,
    MODELS,
    RIVAL,
    aims,
    changes,
    gaps,
    parity,
)
from pipelines.evaluate.metrics.memorization import copies
from pipelines.evaluate.metrics.perplexity import perplexity
from pipelines.evaluate.metrics.statistics import Estimate, clustered
from pipelines.evaluate.metrics.variance_explained import explained
from pipelines.evaluate.observe import EYE, SHOWN, Eye, Observed, SameEye
from pipelines.evaluate.protocol import Compared, EvaluationProtocol, ProtocolChoice
from pipelines.evaluate.report.contents import Grid, Report
from pipelines.evaluate.report.markdown import markdown
from pipelines.evaluate.report.page import render
from pipelines.evaluate.report.rows import report_json, rows_of
from pipelines.evaluate.report.track import track
from pipelines.evaluate.sweep import Key, Plan, Seen, Sweep, drawn_sources, real_with_z
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.candidates import Checks
from pipelines.sample.choice import Decoding
from pipelines.sample.engine import Loadable, bundles_of, running
from pipelines.train.track import require_tracker
from pipelines.workspace.settings import ExtractSettings
from pipelines.workspace.workspace import Workspace


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


def evaluate(
    workspace: Workspace,
    choice: ProtocolChoice,
    name: str = "evaluation",
    embedded: bool = False,
    models: Sequence[str] | None = None,
    z_kinds: Sequence[str] | None = None,
    tracker: str | None = None,
    progress: Progress = SILENT,
) -> EvaluateSummary:
    """Sample, measure and write ``reports/NAME/index.html`` with twins in JSON and Markdown.

    Finished cells are kept in ``logs/evaluate/NAME``. A later run of the same name takes those
    whose models, settings and captions are unchanged, and removes the others.

    Args:
        workspace: Holds the models and the settings (``evaluate``, and ``sample`` for how
            z are drawn). Where it has no models, the embedded ones are taken.
        choice: How to measure; see `pipelines.protocols.choose_protocol`.
        name: The report's folder; an earlier report there is replaced.
        embedded: Compare the embedded models even if the workspace has its own; its data do not
            matter then.
        models: ``baseline``, ``kaleido``, or both, which are then compared; None is both.
        z_kinds: Kinds of z that Kaleido draws; None for those that it usually draws.
        tracker: One of `TRACKERS`, which is given the numbers too; see `track`.
        progress: Listener.

    Raises:
        InputMissing: If captions, models or what the protocol measures with are missing.
        KaleidoError: If the protocol refuses the data, or a setting makes no sense.
    """
    settings = workspace.settings.evaluate
    models = MODELS if models is None else models
    _require_known(models)
    if tracker is not None:
        require_tracker(tracker)
    choice.check(workspace)
    bundles = _load(workspace, embedded, models, z_kinds)
    _require_different("seeds", settings.seeds)
    truth = _truth(workspace, bundles, progress)
    protocol = choice.open(Compared(workspace, bundles, truth, progress))
    sampling = workspace.settings.sample
    plan = Plan(
        protocol.captions,
        settings.n,
        tuple(sorted(set(settings.cfg))),
        settings.steps,
        settings.seeds,
        Decoding.of(sampling),
        Checks.of(sampling),
        sampling.cfg_begin,
        sampling.cfg_end,
        sampling.z_noise,
        settings.training,
    )
    folder = workspace.reports(name)
    shape = _any(bundles).diffusion.shapes[0]
    with workspace.lock(f"reports/{name}"):
        common = {
            "captions": plan.captions,
            "n": plan.n,
            "size": shape[0] if shape[0] == shape[1] else list(shape),
            "protocol": protocol.metadata,
        }
        store = CellStore(workspace.logs / "evaluate" / name, common, progress)
        with running(workspace, *_tools(bundles, protocol)) as run:
            seen = Sweep(plan, bundles, protocol, store, progress, run).run()
        report = _compare(plan, bundles, protocol, seen, _command(workspace, plan, bundles, name))
        rows = rows_of(report)
        remove_leftovers(folder)
        atomic_write(folder / "report.json", report_json(report, rows))
        atomic_write(folder / "report.md", markdown(report).encode("utf-8"))
        atomic_write(folder / "index.html", render(report).encode("utf-8"))
        if tracker is not None:
            track(tracker, rows, folder, name)
        store.prune()
    return EvaluateSummary(
        folder / "index.html",
        folder / "report.json",
        report.void,
        store.made + store.reused,
        store.reused,
        rows,
    )


def _tools(
    bundles: Mapping[str, Bundle], protocol: EvaluationProtocol
) -> tuple[dict[str, Any], dict[str, Loadable]]:
    """Return what draws and looks, here and as another machine loads it."""
    here, elsewhere = bundles_of(list(bundles.values()))
    tokenizer = protocol.truth.tokenizer
    name = tokenizer.name if tokenizer else ""
    here[EYE] = Eye(protocol.inspect, tokenizer)
    elsewhere[EYE] = SameEye(protocol.elsewhere, name, _any(bundles).source == "embedded")
    return here, elsewhere


def _load(
    workspace: Workspace, embedded: bool, models: Sequence[str], z_kinds: Sequence[str] | None
) -> dict[str, Bundle]:
    chosen = [name for name in MODELS if name in models]
    bundles = {m: load_bundle(workspace, m == BASELINE, embedded) for m in chosen}
    if z_kinds is not None:
        with_z = KALEIDO if KALEIDO in bundles else BASELINE  # which then says that it has none
        bundles[with_z] = bundles[with_z].drawing(z_kinds)
    if len(bundles) > 1:
        _require_fair(bundles)
    return bundles


def _require_known(models: Sequence[str]) -> None:
    _require_different("models", models)
    for name in models:
        if name not in MODELS:
            raise KaleidoError(f"model {name!r}", "there is no such model.", nearest(name, MODELS))


def _require_fair(bundles: Mapping[str, Bundle]) -> None:
    seen = _images_seen(bundles)
    if seen[BASELINE] < seen[KALEIDO]:
        raise KaleidoError(
            "the baseline",
            f"it has seen {seen[BASELINE]:,} images and Kaleido {seen[KALEIDO]:,}, so a comparison "
            "would flatter Kaleido.",
            "Train it on as many, or more: `kaleido train diffusion --baseline` with --steps.",
        )


def _any(bundles: Mapping[str, Bundle]) -> Bundle:
    """Return one of the models, for what they share: their origin and image size."""
    return next(iter(bundles.values()))


def _images_seen(bundles: Mapping[str, Bundle]) -> dict[str, int]:
    return {model: bundle.diffusion.images_seen for model, bundle in bundles.items()}


def _truth(workspace: Workspace, bundles: Mapping[str, Bundle], progress: Progress) -> TrueZ:
    """Build the writer of real pictures' z: Kaleido's kinds, palette size and tokenizer."""
    kinds = bundles[KALEIDO].z_kinds if KALEIDO in bundles else ()
    embedded = _any(bundles).source == "embedded"
    extracted = ExtractSettings() if embedded else workspace.settings.extract
    tokenizer = None
    if "tokens" in kinds:
        tokenizer = shipped_retokenizer() if embedded else retokenizer(workspace, progress)
    return TrueZ(kinds, extracted.palette_colours, tokenizer)


def _require_different(what: str, values: Sequence[object]) -> None:
    repeated = [value for value, times in Counter(values).items() if times > 1]
    if repeated:
        raise KaleidoError(
            what, f"{repeated[0]!r} occurs twice.", "Name each one once.", code="bad-option"
        )


def _compare(
    plan: Plan,
    bundles: Mapping[str, Bundle],
    protocol: EvaluationProtocol,
    seen: Seen,
    command: str,
) -> Report:
    pictures, reference = seen.pictures, seen.pictures["reference", 0.0]
    estimates = {
        key: protocol.measure(pictures[key], reference)
        for key in (*drawn_sources(plan, bundles), (GIVEN, plan.cfg[-1]))
        if key in pictures
    }
    given = GIVEN, plan.cfg[-1]
    if given in estimates and unlike_diversity(pictures[given]):
        known = estimates[given].items()
        estimates[given] = {n: value for n, value in known if not n.startswith(DIVERSITY)}
    data = clustered(protocol.measure_real(pictures.get(("data", 0.0)), reference), protocol.groups)
    for key, values in _of_prior(plan, bundles, pictures).items():
        estimates[key] |= values
    if seen.training is not None:
        for key, values in estimates.items():
            values["copies"] = copies(pictures[key], reference, seen.training)
    for key, cell in seen.twins.items():
        estimates[key]["explained"] = explained(pictures[key], cell)
    estimates = {key: clustered(values, protocol.groups) for key, values in estimates.items()}
    found = list(dict.fromkeys(source for source, _ in estimates))
    both, notes = len(bundles) > 1, protocol.notes
    return Report(
        plan=asdict(plan),
        features=protocol.name,
        tokenizer=protocol.truth.tokenizer.name if protocol.truth.tokenizer else "",
        notes=notes,
        sources={name: _model_of(name, bundles).source for name in found},
        images_seen={name: _model_of(name, bundles).diffusion.images_seen for name in found},
        z_kinds={name: _model_of(name, bundles).z_kinds for name in found},
        parity=parity(estimates, notes.parity_unknown, notes.parity_entropies) if both else None,
        changes=changes(estimates, notes.headlines) if both else [],
        aims=aims(estimates) if both else [],
        gaps=gaps(estimates),
        estimates=estimates,
        data=data,
        real=(plan.seeds[: reference.features.shape[1]], reference.features.shape[2]),
        clusters=protocol.groups,
        grids=_grids(plan, found, pictures),
        command=command,
    )


def _model_of(source: str, bundles: Mapping[str, Bundle]) -> Bundle:
    """Return the model that draws a source: two of them are another one, drawing otherwise."""
    return bundles[{RIVAL: BASELINE, GIVEN: KALEIDO}.get(source, source)]


def _of_prior(
    plan: Plan, bundles: Mapping[str, Bundle], pictures: Mapping[Key, Observed]
) -> dict[Key, dict[str, Estimate]]:
    """Compare drawn z with those of real pictures of the same captions, where these have some."""
    real = real_with_z(pictures)
    if KALEIDO not in bundles or real is None:
        return {}
    foreseen = perplexity(bundles[KALEIDO].prior, plan.captions, real)
    return {
        key: calibration(each, real) | foreseen
        for key, each in pictures.items()
        if key[0] == KALEIDO
    }


def _grids(plan: Plan, models: Sequence[str], seen: Mapping[Key, Observed]) -> list[Grid]:
    ends = sorted({plan.cfg[0], plan.cfg[-1]}, reverse=True)
    rows = [("reference", 0.0), *((model, cfg) for cfg in ends for model in models)]
    rows = [row for row in rows if row in seen]
    return [
        Grid(caption, [(*row, seen[row].shown[number]) for row in rows])
        for number, caption in enumerate(plan.captions[: SHOWN[0]])
    ]


def _command(workspace: Workspace, plan: Plan, bundles: Mapping[str, Bundle], name: str) -> str:
    features = workspace.settings.evaluate.features
    return (
        f"kaleido evaluate --captions {len(plan.captions)} --n {plan.n} --steps {plan.steps} "
        f"--sweep cfg={','.join(f'{value:g}' for value in plan.cfg)} "
        f"--seeds {','.join(map(str, plan.seeds))} --training {plan.training} "
        f"--name {shlex.quote(name)}"
        + (f" --features {shlex.quote(features)}" if features else "")
        + (f" --models {','.join(bundles)}" if len(bundles) < len(MODELS) else "")
        + "".join(f" --z {','.join(b.chosen_kinds)}" for b in bundles.values() if b.chosen_kinds)
        + (" --embedded" if _any(bundles).source == "embedded" else "")
    )
