"""`kaleido sample`: samples of captions as PNG files, a contact sheet and a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from pipelines.core.contact_sheet import contact_sheet
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT, Progress
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import Sample, draw
from pipelines.sample.folder import new_folder
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.shards import records_of
from pipelines.workspace.workspace import Workspace

SHEET_CAPTIONS = 24
"""Captions that the contact sheet shows, at most."""

SHEET_SAMPLES = 64
"""Samples of each of them, at most."""


@dataclass(frozen=True)
class SampleSummary:
    """What was written.

    Attributes:
        folder: Where.
        model: ``kaleido`` or ``baseline``.
        source: ``workspace`` or ``embedded``.
        captions: Number of captions.
        samples: Number of images.
        sheet: The contact sheet.
    """

    folder: Path
    model: str
    source: str
    captions: int
    samples: int
    sheet: Path


def sample(
    workspace: Workspace,
    captions: Sequence[str] | None,
    settings: SampleSettings,
    name: str | Path | None = None,
    baseline: bool = False,
    z_kinds: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> SampleSummary:
    """Draw samples of captions into ``samples/NAME``.

    Args:
        workspace: Holds the models, or none, and then the embedded ones serve.
        captions: What to draw; None takes held-out captions of the workspace's data.
        settings: How to draw.
        name: The folder's name in ``samples``, or the path of another folder; None makes a name
            from the first caption.
        baseline: Use the model without z.
        z_kinds: Kinds of z to draw; None for those that it usually draws.
        progress: Listener.

    Raises:
        InputMissing: If no caption is given and the workspace has no held-out record.
        KaleidoError: If `name` is taken, or an option does not fit the model.
    """
    asked = list(captions) if captions is not None else _some_captions(workspace, progress)
    if any(not caption.strip() for caption in asked):
        raise KaleidoError("caption", "it is empty.", "Write what the picture should show.")
    bundle = load_bundle(workspace, baseline)
    if z_kinds is not None:
        bundle = bundle.drawing(z_kinds)
    if bundle.source == "embedded":
        progress.message(
            "The embedded models draw, for there are no trained ones here. They know scenes of one "
            "to three simple shapes."
        )
    with new_folder(workspace.samples, name, asked[0], progress) as folder:
        shown = _write_samples(folder, bundle, asked, settings, progress)
        sheet = folder / "sheet.png"
        atomic_write(sheet, encode_png(contact_sheet(shown)))
    if len(asked) > SHEET_CAPTIONS or settings.n > SHEET_SAMPLES:
        progress.message(
            f"The contact sheet shows the first {SHEET_CAPTIONS} captions and the first "
            f"{SHEET_SAMPLES} samples of each, at most."
        )
    samples = len(asked) * settings.n
    return SampleSummary(folder, bundle.name, bundle.source, len(asked), samples, sheet)


def _write_samples(
    folder: Path,
    bundle: Bundle,
    captions: Sequence[str],
    settings: SampleSettings,
    progress: Progress,
) -> list[tuple[str, list[np.ndarray]]]:
    """Draw samples into a folder, with their list; return what the contact sheet shows of them."""
    shown: list[tuple[str, list[np.ndarray]]] = []
    with (
        (folder / "samples.jsonl").open("w", encoding="utf-8", newline="\n") as lines,
        progress.task("samples", len(captions) * settings.n, "image") as advance,
    ):
        for number, caption in enumerate(captions):
            group: list[np.ndarray] = []
            for item in draw(bundle, caption, settings):
                file = f"{number:04d}-{item.index:04d}.png"
                atomic_write(folder / file, encode_png(item.pixels))
                lines.write(_line(file, item, settings, bundle))
                if len(group) < SHEET_SAMPLES:
                    group.append(item.pixels)
                advance(1)
            if number < SHEET_CAPTIONS:
                shown.append((caption, group))
            lines.flush()  # what is drawn stays listed if the run is stopped
    return shown


def heldout_captions(workspace: Workspace, count: int = 16) -> list[str]:
    """The first different captions of the held-out split, in data order.

    Raises:
        InputMissing: If there are none.
    """
    found = _first_captions(workspace, "heldout", count)
    if not found:
        raise InputMissing(
            "captions",
            "none was given, and the workspace has no held-out records.",
            'Give one: `kaleido sample "two circles and a star"`.',
        )
    return found


def _some_captions(workspace: Workspace, progress: Progress) -> list[str]:
    """Held-out captions, or those of training records where a small set holds none out."""
    if _first_captions(workspace, "heldout", 1) or not (
        seen := _first_captions(workspace, "train", 16)
    ):
        return heldout_captions(workspace)
    progress.message("No record is held out; these captions were trained on.")
    return seen


def _first_captions(workspace: Workspace, split: str, count: int) -> list[str]:
    captions: dict[str, None] = {}
    for record in records_of(workspace.data_shards()):
        if record.split == split:
            captions[record.caption] = None
        if len(captions) == count:
            break
    return list(captions)


def _line(file: str, item: Sample, settings: SampleSettings, bundle: Bundle) -> str:
    row = {
        "file": file,
        "caption": item.caption,
        "z": item.z,
        "index": item.index,
        "model": bundle.name,
        "source": bundle.source,
        "settings": asdict(settings) | {"z_kinds": bundle.z_kinds},
    }
    return json.dumps(row, ensure_ascii=False) + "\n"
