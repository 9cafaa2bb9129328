"""`kaleido sample`: writes samples of captions as PNG files, with a contact sheet and a list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from textwrap import shorten
from typing import Any

from pipelines.core.batches import in_batches
from pipelines.core.errors import KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT, Progress
from pipelines.documents.projection import document_of
from pipelines.latents.sequence import z_from_text
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.captions import captions_to_draw
from pipelines.sample.control import UNCONTROLLED, Control, controlled_kinds, require_control
from pipelines.sample.draw import Sample
from pipelines.sample.engine import Run, bundles_of, running
from pipelines.sample.folder import new_folder
from pipelines.sample.jobs import DrawGiven, jobs_of
from pipelines.sample.requests import ZRequest, name_of, read_requests
from pipelines.sample.sampler import require_sampler
from pipelines.sample.writer import PictureGroup, Row, write_pictures
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace

SHOWN_LOSSES = 5
"""Values left out of z that are named; the rest is counted."""

SHOWN_CHARACTERS = 80
"""Characters shown of the part of a caption that is not read."""


@dataclass(frozen=True)
class SampleSummary:
    """The outcome of a run.

    Attributes:
        folder: The folder of the samples.
        model: ``kaleido`` or ``baseline``.
        source: ``workspace`` or ``embedded``.
        captions: Number of captions.
        samples: Number of images.
        sheet: The contact sheet's file.
        rejected: z that were drawn and not taken, see `pipelines.sample.candidates`.
        unsound: Images for which no candidate was sound; they have the first.
    """

    folder: Path
    model: str
    source: str
    captions: int
    samples: int
    sheet: Path
    rejected: int
    unsound: int


@dataclass(frozen=True)
class SampleGroup:
    """Samples of one caption, not drawn yet.

    Attributes:
        caption: The caption.
        count: How many samples.
        drawn: Draws them, one after the other, and after those of the group before.
    """

    caption: str
    count: int
    drawn: Iterator[Sample]


def sample(
    workspace: Workspace,
    captions: Sequence[str] | None,
    settings: SampleSettings | None = None,
    name: str | Path | None = None,
    baseline: bool = False,
    z_kinds: Sequence[str] | None = None,
    progress: Progress = SILENT,
    control: Control = UNCONTROLLED,
) -> SampleSummary:
    """Draw samples of captions into ``samples/NAME``.

    ``samples.jsonl`` there lists each sample's file, caption, z, model and settings.
    `pipelines.sample.draw.draw_from_z` draws from such a z, as it is or edited.

    Args:
        workspace: The workspace; without models of its own it is sampled with the embedded ones.
        captions: The captions; None takes held-out captions of the workspace's data.
        settings: Sampler, guidance and number of samples; None takes the workspace's settings.
        name: The folder's name in ``samples``, or the path of another folder; None makes a name
            from the first caption.
        baseline: Use the model without z.
        z_kinds: Kinds of z to draw; None for the model's usual ones.
        progress: Receives messages and progress.
        control: What z must hold.

    Raises:
        InputMissing: If no caption is given and the workspace has no held-out record.
        KaleidoError: If z cannot hold what is asked, `name` is taken, or an option does not fit the
            model.
    """
    settings = settings or workspace.settings.sample
    require_sampler(settings.sampler)
    asked = captions_to_draw(workspace, captions, progress)
    bundle, control = open_controlled(workspace, baseline, z_kinds, control, progress)
    with running(workspace, *bundles_of([bundle])) as run:
        drawn = run(jobs_of(bundle.name, asked, settings, control))
        groups = [SampleGroup(caption, settings.n, drawn) for caption in asked]
        return write_groups(workspace, bundle, groups, settings, name, asked[0], progress)


def open_controlled(
    workspace: Workspace,
    baseline: bool,
    z_kinds: Sequence[str] | None,
    control: Control,
    progress: Progress,
) -> tuple[Bundle, Control]:
    """Load the models, restricted to the kinds of z that are given or drawn.

    Returns:
        The models, and what z must hold, without given kinds that the models do not know.

    Raises:
        KaleidoError: If z cannot hold what is asked.
    """
    bundle = open_bundle(workspace, baseline, None if control.given else z_kinds, progress)
    if not control:
        return bundle, control
    if not bundle.z_kinds:
        raise KaleidoError(
            "--require, --forbid and --given",
            "a baseline has no z.",
            "Leave them out, or the baseline.",
            code="model-mismatch",
        )
    control = control.of_kinds(bundle.diffusion.z_kinds)
    bundle = bundle.drawing(controlled_kinds(control, bundle.z_kinds, z_kinds))
    require_control(bundle.prior, bundle.z_kinds, control)
    return bundle, control


def open_bundle(
    workspace: Workspace,
    baseline: bool = False,
    z_kinds: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> Bundle:
    """Load the models, restricted to kinds of z, and tell if they are the embedded ones."""
    bundle = load_bundle(workspace, baseline)
    if z_kinds is not None:
        bundle = bundle.drawing(z_kinds)
    if bundle.source == "embedded":
        progress.message(
            "The workspace has no trained models, so the embedded ones draw. They know scenes of "
            "one to three simple shapes."
        )
    return bundle


def sample_from_z(
    workspace: Workspace,
    data: bytes,
    source: str,
    settings: SampleSettings,
    caption: str | None = None,
    name: str | Path | None = None,
    progress: Progress = SILENT,
) -> SampleSummary:
    """Draw given z into ``samples/NAME``, see `read_requests`.

    Args:
        workspace: Holds the models, or none, and then the embedded ones serve.
        data: z documents, or the lines of a ``samples.jsonl``.
        source: The file's name.
        settings: How to draw; ``n`` and the decoding have no effect.
        caption: The caption, where a document does not name one.
        name: As for `sample`; None makes a name from the file's.
        progress: Told what the kinds of z cannot hold.

    Raises:
        KaleidoError: If a document or a z is not valid, or `name` is taken.
    """
    require_sampler(settings.sampler)
    bundle = load_bundle(workspace)
    requests = read_requests(data, source, bundle.diffusion.z_kinds, caption)
    for number, loss in requests.lost[:SHOWN_LOSSES]:
        progress.message(f"Picture {number}: {loss.path} is left out of z. {loss.why}")
    if (rest := len(requests.lost) - SHOWN_LOSSES) > 0:
        progress.message(f"{rest:,} more values are left out of z.")
    with running(workspace, *bundles_of([bundle])) as run:
        return sample_requests(
            workspace, bundle, requests.items, settings, name, name_of(source), run, progress
        )


def sample_requests(
    workspace: Workspace,
    bundle: Bundle,
    requests: Sequence[ZRequest],
    settings: SampleSettings,
    name: str | Path | None,
    default_name: str,
    run: Run,
    progress: Progress = SILENT,
) -> SampleSummary:
    """Draw given z into ``samples/NAME``, each with the noise of its number.

    Args:
        workspace: Holds ``samples``.
        bundle: The models.
        requests: One per picture; neighbours with one caption are drawn together.
        settings: How to draw; ``n`` and the decoding have no effect.
        name: As for `sample`.
        default_name: What the folder's name is made from if `name` is None.
        run: Draws; the bundle is one of its tools.
        progress: Receives messages and progress.
    """
    together = [(c, list(items)) for c, items in groupby(requests, attrgetter("caption"))]
    drawn = run(
        DrawGiven(
            bundle.name,
            caption,
            tuple(item.z for item in chunk),
            settings,
            tuple(item.index for item in chunk),
        )
        for caption, items in together
        for chunk in in_batches(items, settings.batch_size)  # as they are drawn in one process
    )
    groups = [SampleGroup(caption, len(items), drawn) for caption, items in together]
    return write_groups(workspace, bundle, groups, settings, name, default_name, progress)


def write_groups(
    workspace: Workspace,
    bundle: Bundle,
    groups: Sequence[SampleGroup],
    settings: SampleSettings,
    name: str | Path | None,
    default_name: str,
    progress: Progress,
) -> SampleSummary:
    """Draw groups of samples into a new folder, with their list and contact sheet."""
    _warn_of_long_captions(bundle, [group.caption for group in groups], progress)
    rejected: list[int] = []
    written = [
        PictureGroup(group.caption, group.count, _pictures(group, bundle, settings, rejected))
        for group in groups
    ]
    with new_folder(workspace.samples, name, default_name, progress) as folder:
        sheet = write_pictures(folder, written, progress)
    samples, captions = sum(group.count for group in groups), len(groups)
    unsound = sum(number == settings.z_candidates for number in rejected)
    return SampleSummary(
        folder, bundle.name, bundle.source, captions, samples, sheet, sum(rejected), unsound
    )


def _pictures(
    group: SampleGroup, bundle: Bundle, settings: SampleSettings, rejected: list[int]
) -> Iterator[tuple[bytes, Row]]:
    """Draw a group; also count in `rejected` the z that were not taken for each picture."""
    for item in islice(group.drawn, group.count):
        rejected.append(item.rejected)
        yield encode_png(item.pixels), sample_row(item, settings, bundle)


def _warn_of_long_captions(bundle: Bundle, captions: Sequence[str], progress: Progress) -> None:
    unread = [part for part in map(bundle.prior.unread_part, captions) if part]
    if unread:
        more = f" The ends of {len(unread) - 1:,} more captions are cut off." * (len(unread) > 1)
        progress.message(
            f"The prior reads at most {bundle.prior.max_caption_tokens} tokens of a caption. Not "
            f"read: {shorten(unread[0], SHOWN_CHARACTERS, placeholder=' …')!r}.{more}"
        )


def _as_drawn(item: Sample, settings: SampleSettings) -> SampleSettings:
    """Return the settings with which a sample is drawn at once."""
    return replace(
        settings,
        z_seed=settings.z_seed + item.redrawn,
        noise_seed=settings.noise_seed + item.redrawn,
    )


def sample_row(item: Sample, settings: SampleSettings, bundle: Bundle) -> Row:
    """Return a sample's row of ``samples.jsonl``."""
    row: dict[str, Any] = {
        "caption": item.caption,
        "z": item.z,
        "index": item.index,
        "model": bundle.name,
        "source": bundle.source,
        "settings": asdict(_as_drawn(item, settings)) | {"z_kinds": bundle.z_kinds},
    }
    if item.rejected:
        row["rejected"] = item.rejected
    if item.z:
        document = document_of(z_from_text(item.z), item.caption, item.pixels.shape[:2])
        row["document"] = json.loads(document.to_json())
    return row
