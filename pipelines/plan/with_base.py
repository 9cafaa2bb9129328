"""`kaleido sample --base`: plans of captions, drawn by a text-to-image model of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.bases.base import Base, load_base
from pipelines.bases.draw import Picture, parse_size
from pipelines.bases.loop import Guidance
from pipelines.core.progress import SILENT, Progress
from pipelines.documents.document import Document
from pipelines.documents.projection import z_of
from pipelines.latents.text import SHIPPED_KINDS
from pipelines.models.hub import model_folder
from pipelines.plan.base_pictures import Asked, pictures_of, row_of
from pipelines.plan.drawn import Drawn, earlier_folders, is_drawn
from pipelines.plan.plan import plan, require_pool
from pipelines.plan.planners.find import find_planner
from pipelines.plan.planners.prior import PriorPlanner
from pipelines.plan.prompts import BaseRequest, prompt_of, tell_unsaid
from pipelines.plan.run import open_prior, plan_sets
from pipelines.sample.folder import new_folder
from pipelines.sample.writer import SHEET, write_pictures
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class BaseSummary:
    """The outcome of a run.

    Attributes:
        folder: The folder of the samples.
        base: Name of the base, as it was given.
        family: Name of its family, for people.
        captions: Number of captions.
        samples: Number of pictures.
        planned: Whether pictures were drawn of z.
        sheet: The contact sheet's file.
    """

    folder: Path
    base: str
    family: str
    captions: int
    samples: int
    planned: bool
    sheet: Path


def plan_requests(
    workspace: Workspace,
    captions: Sequence[str],
    z_kinds: Sequence[str] | None = None,
    pool: int | None = None,
    progress: Progress = SILENT,
    planner: str | None = None,
) -> tuple[list[BaseRequest], str]:
    """Plan pictures of captions.

    Args:
        workspace: Its ``[sample]`` settings set n, seeds, temperature and top_p.
        captions: The captions.
        z_kinds: Kinds of z; None takes those of samples.
        pool: Draw this many per caption and choose the n most diverse; None draws n.
        progress: Receives progress and messages.
        planner: See `find_planner`; None takes the prior of the workspace, or the embedded one.

    Returns:
        The requests, and the planner's identity.

    Raises:
        KaleidoError: If the planner cannot be used or cannot give as many plans, a prior does not
            draw a kind, or the pool is smaller than n.
    """
    settings = workspace.settings.sample
    if planner is not None:
        ready = find_planner(workspace, planner, z_kinds, progress.message)
        sets = plan_sets(ready, settings, captions, pool, progress)
        asked = [
            BaseRequest(each.report.caption, _number_of(document), document)
            for each in sets
            for document in each.documents
        ]
        return asked, ready.planner.identity
    if pool is not None:
        require_pool(pool, settings.n)
    prior, kinds, _ = open_prior(workspace, z_kinds)
    found: list[BaseRequest] = []
    with progress.task("plans", len(captions), "caption") as advance:
        for caption in captions:
            plans, _ = plan(prior, caption, kinds, settings, pool)
            found += [BaseRequest(caption, each.index, each.document()) for each in plans]
            advance(1)
    return found, PriorPlanner(prior, kinds, settings).identity


def _number_of(document: Document) -> int:
    """Return the drawing number of a plan, of which its key is made."""
    return int((document.key or "plan-0").rpartition("-")[2])


def plain_requests(captions: Sequence[str], count: int) -> list[BaseRequest]:
    """Ask for pictures of captions without z, `count` of each."""
    return [BaseRequest(caption, index) for caption in captions for index in range(count)]


def find_adapter(workspace: Workspace) -> str:
    """Return the folder of the adapter that the settings name; empty if they name none.

    A relative path is looked up in the current folder, then in the workspace, then on the hub.

    Raises:
        KaleidoError: If there is none.
    """
    name = workspace.settings.base.adapter
    if not name:
        return ""
    own = workspace.root / name
    return str(own if own.is_dir() and not Path(name).is_dir() else model_folder(name))


def sample_with_base(
    workspace: Workspace,
    base: Base | str,
    requests: Sequence[BaseRequest],
    changes: Mapping[str, Any],
    name: str | Path | None = None,
    planner: str | None = None,
    progress: Progress = SILENT,
    resume: bool = False,
) -> BaseSummary:
    """Draw pictures with a base into ``samples/NAME``.

    Args:
        workspace: Holds ``samples``; its ``[base]`` settings say how the base is loaded and what
            it draws, and ``sample.seed`` and ``sample.noise_seed`` are the seed of noise.
        base: A base that is loaded, or a folder, or a name on the hub.
        requests: The pictures; neighbours with one caption make a group of the contact sheet.
        changes: Of ``sample.size``, ``sample.cfg``, ``sample.cfg_begin``, ``sample.cfg_end``,
            ``sample.steps`` and ``sample.batch_size`` those that were asked for; the others are
            the base's usual ones, as the settings of a workspace are made for its own models.
        name: A name for the folder, or its path; None makes a name from the first caption.
        planner: Identity of what planned the requests, for the list.
        progress: Receives messages and progress.
        resume: Take pictures from earlier runs of this name that had the same settings; if one has
            drawn all, nothing is done.

    Raises:
        KaleidoError: If the base cannot be loaded or cannot draw the size, or `name` is taken.
    """
    settings = workspace.settings.base
    if isinstance(base, str):
        base = load_base(base, settings.dtype, settings.offload, find_adapter(workspace))
    height, width = parse_size(base.family, base.pipe, changes.get("sample.size", ""))
    guidance = choose_guidance(base, changes, progress)
    batch = changes.get("sample.batch_size", 1)
    picture = Picture(height, width, guidance, settings.negative or None, batch)
    prompts = [prompt_of(base, request) for request in requests]
    tell_unsaid(base, prompts, progress)
    _tell_unread(base, requests, progress)
    facts = _facts(workspace, base, picture, planner)
    asked = [
        Asked(request, prompt, row_of(request, prompt, picture, facts))
        for request, prompt in zip(requests, prompts, strict=True)
    ]
    rows = [each.row for each in asked]
    earlier = workspace.samples(name) if resume and isinstance(name, str) else None
    if earlier is not None and is_drawn(earlier, rows):
        progress.message(f"The pictures in {earlier} are drawn already.")
        folder = earlier
    else:
        with new_folder(workspace.samples, name, requests[0].caption, progress) as folder:
            drawn = Drawn(earlier_folders(folder) if earlier is not None else ())
            if count := sum(row in drawn for row in rows):
                progress.message(f"{count:,} of its pictures are not drawn again.")
            write_pictures(folder, pictures_of(workspace, base, asked, picture, drawn), progress)
    sheet = folder / SHEET
    planned = any(request.document is not None for request in requests)
    captions = len({request.caption for request in requests})
    title = base.family.title
    return BaseSummary(folder, base.folder.name, title, captions, len(requests), planned, sheet)


def choose_guidance(base: Base, changes: Mapping[str, Any], progress: Progress) -> Guidance:
    """Choose steps and scale: what was asked for, or else what is usual for the base."""
    distilled = base.folder.distilled
    usual_steps, usual_cfg = base.folder.usual_guidance
    cfg = changes.get("sample.cfg")
    if distilled and cfg is not None and cfg != 1.0:
        progress.message(
            f"{base.folder.name} is distilled ({distilled}): guidance is not what it was trained "
            "for, and --cfg 1 is usual."
        )
    return Guidance(
        changes.get("sample.steps", usual_steps),
        usual_cfg if cfg is None else cfg,
        changes.get("sample.cfg_begin", 1.0),
        changes.get("sample.cfg_end", 0.0),
    )


def _facts(
    workspace: Workspace, base: Base, picture: Picture, planner: str | None
) -> dict[str, Any]:
    """Return what the lines of all samples have in common."""
    sample = workspace.settings.sample
    return {
        "model": "base",
        "source": base.folder.name,
        "base": {
            "family": base.family.name,
            "identity": base.folder.identity,
            "scheduler": type(base.pipe.scheduler).__name__,
            "dtype": str(base.denoiser.dtype).removeprefix("torch."),
            **({"adapter": base.adapter.identity} if base.adapter is not None else {}),
        },
        "planner": planner,
        "settings": {
            "width": picture.width,
            "height": picture.height,
            **asdict(picture.guidance),
            "negative": picture.negative,
            "seed": sample.seed,
            "noise_seed": sample.noise_seed,
        },
    }


def _tell_unread(base: Base, requests: Sequence[BaseRequest], progress: Progress) -> None:
    """Say which kinds of the z that are drawn an adapter was not trained on."""
    if base.adapter is None:
        return
    known = base.adapter.config.z_kinds
    documents = [request.document for request in requests if request.document is not None]
    present = {kind for document in documents for kind in z_of(document, SHIPPED_KINDS)[0]}
    if unread := [kind for kind in SHIPPED_KINDS if kind in present and kind not in known]:
        progress.message(
            f"The adapter reads {', '.join(known)}; {', '.join(unread)} of z do not reach the base."
        )
