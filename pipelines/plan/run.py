"""`kaleido plan`: write z of captions as documents, with a contact sheet of their layouts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.core.contact_sheet import contact_sheet
from pipelines.core.files import atomic_write
from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT, Progress
from pipelines.documents.convert import require_allowed
from pipelines.documents.dialects.registry import writable
from pipelines.documents.document import Document
from pipelines.documents.statements import z_contradictions
from pipelines.documents.thumbnail import thumbnail
from pipelines.latents.sequence import order_kinds, require_kinds, z_from_text
from pipelines.models.device import compute_device
from pipelines.models.metadata import METADATA, read_metadata
from pipelines.models.prior import Prior
from pipelines.models.registry import sampling_source
from pipelines.plan.draws import DrawnSpread, drawn_spread
from pipelines.plan.plan import Gain, Plan, plan_each, require_pool
from pipelines.plan.planners.find import FoundPlanner, find_planner
from pipelines.plan.sets import PlanSet, SetReport, plan_set
from pipelines.sample.control import UNCONTROLLED, Control, controlled_kinds, require_control
from pipelines.sample.folder import new_folder
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.plan.prompts import PromptSummary

SHEET_CAPTIONS, SHEET_PLANS = 24, 64
"""Maximum number of captions on the sheet, and of plans per caption."""


@dataclass(frozen=True)
class CaptionPlans:
    """The plans of one caption.

    Attributes:
        caption: The caption.
        plans: Plans in the order in which they were drawn or chosen.
        gain: Gain of choosing diverse plans; None if all were kept.
        contradicting: How many plans state a place or size that their boxes do not have.
    """

    caption: str
    plans: list[Plan]
    gain: Gain | None
    contradicting: int


@dataclass(frozen=True)
class WrittenPlans:
    """The files that were written.

    Attributes:
        folder: The output folder.
        files: Files of the documents.
        sheet: Contact sheet of the layouts.
        prompts: The prompts of a base, if one was named.
    """

    folder: Path
    files: list[str]
    sheet: Path
    prompts: PromptSummary | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class PlanSummary(WrittenPlans):
    """The files that were written of plans of a prior.

    Attributes:
        source: ``workspace`` or ``embedded``, the origin of the prior.
        z_kinds: The kinds of z.
        captions: The plans of each caption.
    """

    source: str
    z_kinds: tuple[str, ...]
    captions: list[CaptionPlans]


def plan_captions(
    workspace: Workspace,
    captions: Sequence[str],
    z_kinds: Sequence[str] | None = None,
    pool: int | None = None,
    dialect: str = "kaleido.z",
    allowed: Sequence[str] = (),
    name: str | Path | None = None,
    progress: Progress = SILENT,
    control: Control = UNCONTROLLED,
) -> PlanSummary:
    """Draw z of captions into ``plans/NAME``, without pictures.

    Args:
        workspace: The workspace, whose prior is used if it has one, else the embedded prior. Its
            ``[sample]`` settings set n, seeds and the decoding.
        captions: The captions.
        z_kinds: Kinds of z; None takes those of samples.
        pool: Draw this many per caption and choose the n most diverse; None draws n.
        dialect: Format of the documents.
        allowed: Kinds of losses to accept; ``all`` accepts every kind.
        name: Name of the folder, or a path; None derives a name from the first caption.
        progress: Receives progress and messages.
        control: What z must hold.

    Raises:
        KaleidoError: If the prior does not draw a kind, z cannot hold what is asked, the format
            would lose something that is not in `allowed`, or `name` exists.
    """
    settings = workspace.settings.sample
    if pool is not None:
        require_pool(pool, settings.n)
    writable(dialect)
    prior, kinds, source = open_prior(workspace, None if control.given else z_kinds)
    if control:
        control = control.of_kinds(prior.z_kinds)
        kinds = controlled_kinds(control, kinds, z_kinds)
        require_kinds(kinds, prior.z_kinds, "this prior draws")
        require_control(prior, kinds, control)
    found: list[CaptionPlans] = []
    with progress.task("plans", len(captions), "caption") as advance:
        planned = plan_each(prior, captions, kinds, settings, pool, control)
        for caption, (plans, gain) in zip(captions, planned, strict=True):
            wrong = sum(bool(z_contradictions(z_from_text(each.z))) for each in plans)
            found.append(CaptionPlans(caption, plans, gain, wrong))
            advance(1)
    groups = [(group.caption, [each.document() for each in group.plans]) for group in found]
    written = _write(workspace, groups, dialect, allowed, name, progress)
    return PlanSummary(source=source, z_kinds=kinds, captions=found, **vars(written))


@dataclass(frozen=True)
class SetSummary(WrittenPlans):
    """The files that were written of a planner's plans.

    Attributes:
        planner: Its name.
        captions: The plans of each caption.
        faults: What was wrong with answers that were not taken, and how often.
        spent: What was spent on a server.
        drawn: How varied plans are over independent draws; None where one was drawn.
    """

    planner: str
    captions: list[SetReport]
    faults: dict[str, int]
    spent: str
    drawn: DrawnSpread | None


def plan_by(
    workspace: Workspace,
    planner: str,
    captions: Sequence[str],
    z_kinds: Sequence[str] | None = None,
    pool: int | None = None,
    dialect: str = "kaleido.z",
    allowed: Sequence[str] = (),
    name: str | Path | None = None,
    progress: Progress = SILENT,
    draws: int = 1,
) -> SetSummary:
    """Plan captions by a planner that is named, into ``plans/NAME``.

    Args:
        workspace: See `find_planner`; its ``[sample]`` settings set n, seed and temperature.
        planner: See `find_planner`.
        captions: The captions.
        z_kinds: Kinds of z, for a prior.
        pool: Choose from so many plans per caption; None draws `SPARE` times n.
        dialect: Format of the documents.
        allowed: Kinds of losses to accept; ``all`` accepts every kind.
        name: As for `plan_captions`.
        progress: Receives progress and messages.
        draws: Independent draws over which the spread is measured; the first one is written.

    Raises:
        KaleidoError: As `find_planner`, `plan_set` and `plan_captions`.
    """
    writable(dialect)
    found = find_planner(workspace, planner, z_kinds, progress.message)
    sets = plan_sets(found, workspace.settings.sample, captions, pool, progress)
    drawn = None
    if draws != 1:
        drawn = drawn_spread(found, workspace.settings.sample, sets, pool, draws, progress)
    groups = [(each.report.caption, each.documents) for each in sets]
    written = _write(workspace, groups, dialect, allowed, name, progress)
    return SetSummary(
        **vars(written),
        planner=planner,
        captions=[each.report for each in sets],
        faults=found.faults,
        spent=found.note(),
        drawn=drawn,
    )


def plan_sets(
    found: FoundPlanner,
    settings: SampleSettings,
    captions: Sequence[str],
    pool: int | None,
    progress: Progress,
) -> list[PlanSet]:
    """Plan captions, showing what is spent; the arguments are those of `plan_by`."""
    sets: list[PlanSet] = []
    with progress.task("plans", len(captions), "caption") as advance:
        for caption in captions:
            sets.append(plan_set(found.planner, caption, settings, pool))
            advance(1, found.note())
    return sets


def _write(
    workspace: Workspace,
    groups: Sequence[tuple[str, Sequence[Document]]],
    dialect: str,
    allowed: Sequence[str],
    name: str | Path | None,
    progress: Progress,
) -> WrittenPlans:
    """Write documents, whose keys get the number of their caption, and a sheet of them."""
    keyed = [
        (caption, [_with_key(document, number) for document in documents])
        for number, (caption, documents) in enumerate(groups)
    ]
    written = writable(dialect).write([each for _, group in keyed for each in group])
    require_allowed(dialect, written.lost, allowed)
    with new_folder(workspace.plans, name, groups[0][0], progress) as folder:
        for file, text in written.files.items():
            atomic_write(folder / file, text.encode())
        sheet = folder / "sheet.png"
        atomic_write(sheet, encode_png(_sheet(keyed)))
    return WrittenPlans(folder, sorted(written.files), sheet)


def open_prior(
    workspace: Workspace | None, z_kinds: Sequence[str] | None = None
) -> tuple[Prior, tuple[str, ...], str]:
    """Load the prior of a workspace, or the embedded one.

    Args:
        workspace: The workspace; None takes the embedded prior.
        z_kinds: Kinds of z to draw; None takes those of samples.

    Returns:
        The prior on its device, the kinds in order, and ``workspace`` or ``embedded``.

    Raises:
        KaleidoError: If the prior does not draw a kind.
    """
    source = sampling_source(workspace)
    prior = Prior.load(source.folder("prior"))
    usual = _usual_kinds(source.folder("diffusion")) or prior.z_kinds
    kinds = usual if z_kinds is None else order_kinds(z_kinds)
    require_kinds(kinds, prior.z_kinds, "this prior draws")
    prior.model.to(compute_device())
    return prior, tuple(kinds), source.name


def _usual_kinds(diffusion: Path) -> tuple[str, ...]:
    """Return the kinds of z of a diffusion model; none if there is no model."""
    if not (diffusion / METADATA).is_file():
        return ()
    found = read_metadata(diffusion, "diffusion", "Run `kaleido train diffusion`.")
    return tuple(found.get("drawn_kinds") or found.get("z_kinds") or ())


def _with_key(document: Document, number: int) -> Document:
    """Number a document ``plan-0007`` of a caption: ``0002-0007``."""
    key = (document.key or "").replace("plan", f"{number:04d}")
    return document.model_copy(update={"key": key})


def _sheet(groups: Sequence[tuple[str, Sequence[Document]]]) -> np.ndarray:
    return contact_sheet(
        [
            (caption, [thumbnail(document) for document in chosen[:SHEET_PLANS]])
            for caption, chosen in groups[:SHEET_CAPTIONS]
        ]
    )
