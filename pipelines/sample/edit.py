"""Changing a sample: its z is edited, and the picture is drawn again from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.contact_sheet import contact_sheet
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.images import decode_image, encode_png
from pipelines.core.inputs import read_file
from pipelines.core.progress import SILENT, Progress
from pipelines.core.unfinished import LIST
from pipelines.documents.document import Document
from pipelines.documents.edit import find
from pipelines.documents.problems import require_valid
from pipelines.documents.projection import document_of, z_of
from pipelines.documents.reading import check_document
from pipelines.documents.strict_json import parse
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.sample.folder import new_folder
from pipelines.workspace.config import override
from pipelines.workspace.settings import SampleSettings, Settings
from pipelines.workspace.workspace import Workspace

ROW = {"z": str, "caption": str, "index": int, "source": str, "settings": dict}
"""What an edit reads of a line of `LIST`."""


@dataclass(frozen=True)
class DrawnSample:
    """A sample that was written by `kaleido sample`.

    Attributes:
        path: Its picture.
        row: Its line of ``samples.jsonl``.
        pixels: uint8 (height, width, 3).
    """

    path: Path
    row: dict[str, Any]
    pixels: np.ndarray

    @property
    def document(self) -> Document:
        """Its z as a document."""
        z = z_from_text(self.row["z"])
        return document_of(z, self.row["caption"], self.pixels.shape[:2])

    def colour_of(self, name: str) -> str:
        """Return the colour of an element, ``#RRGGBB``.

        It is the one that z states or else the median of the middle of the element's box, where the
        element itself is seen.

        Raises:
            KaleidoError: If the document has no such element, or it has neither colours nor a box.
        """
        element = find(self.document, name)
        if element.colours:
            return element.colours[0]
        box = element.box
        if box is None:
            raise KaleidoError(
                name, "it has no box, so its colour is not known.", code="bad-option"
            )
        height, width = self.pixels.shape[:2]
        x, y = (box[0] + box[2]) / 2 * width, (box[1] + box[3]) / 2 * height
        across, down = (box[2] - box[0]) / 6 * width, (box[3] - box[1]) / 6 * height
        left, top = max(0, int(x - across)), max(0, int(y - down))
        middle = self.pixels[top : int(y + down) + 1, left : int(x + across) + 1]
        red, green, blue = np.median(middle.reshape(-1, 3), axis=0).astype(int).tolist()
        return f"#{red:02X}{green:02X}{blue:02X}"


@dataclass(frozen=True)
class EditSummary:
    """What was written.

    Attributes:
        folder: Where: the list, before and after, and both side by side.
        sheet: Both side by side.
        document: The edited document.
        lost: What the kinds of z cannot hold of it.
    """

    folder: Path
    sheet: Path
    document: Path
    lost: list[str]


def find_sample(workspace: Workspace, name: str) -> DrawnSample:
    """Find a sample by the path of its picture, or as ``NAME/FILE`` under ``samples``.

    Raises:
        InputMissing: If there is no such picture, or no list beside it.
        KaleidoError: If the sample has no z, because a baseline drew it, or its line is damaged
            (``bad-data``).
    """
    path = Path(name)
    if not path.is_file():
        folder, _, file = name.rpartition("/")
        path = workspace.root / "samples" / folder / f"{file.removesuffix('.png')}.png"
    listed = path.with_name(LIST)
    if not path.is_file() or not listed.is_file():
        why = "there is no such sample." if not path.is_file() else f"there is no {LIST} beside it."
        raise InputMissing(name, why, "Name a picture that `kaleido sample` has written.")
    row = _listed(listed, path.name)
    if row is None:
        raise InputMissing(name, f"{listed} does not list it.", "Draw it again.")
    if row.get("model") == "base":
        hint = (
            "Change its document in a file, and draw that: `kaleido sample --base … --from-z FILE`."
        )
        raise KaleidoError(name, "a model of others drew it.", hint, code="model-mismatch")
    if row.get("z") == "":
        raise KaleidoError(name, "it has no z: a baseline drew it.", code="model-mismatch")
    _check_row(row, listed)
    return DrawnSample(path, row, decode_image(path.read_bytes(), path.name))


def _listed(path: Path, file: str) -> dict[str, Any] | None:
    """Return the line of a sample, read up to there; None if the list has none."""
    for number, line in enumerate(read_file(path).splitlines(), 1):
        if not line.strip():
            continue
        row, problems = parse(line)
        require_valid(f"{path}, line {number}", problems)
        if isinstance(row, dict) and row.get("file") == file:
            return row
    return None


def _check_row(row: Mapping[str, Any], path: Path) -> None:
    """Check what an edit reads of a line; people and other programs change such lists."""
    for key, kind in ROW.items():
        if type(row.get(key)) is not kind:
            raise KaleidoError(
                str(path),
                f"the line of {row['file']!r} has no {key!r} that is {kind.__name__}.",
                "Draw the sample again.",
                code="bad-data",
            )


def edit_sample(
    workspace: Workspace,
    sample: DrawnSample,
    changes: Sequence[Callable[[Document], Document]],
    name: str | Path | None = None,
    progress: Progress = SILENT,
) -> EditSummary:
    """Apply changes to a sample's document and draw it again, with the noise that it had.

    Args:
        workspace: Holds the models that have drawn it, or none for the embedded ones.
        sample: What to change.
        changes: See `pipelines.documents.edit`; applied one after the other.
        name: The folder's name under ``samples``, or another folder; None makes one.
        progress: Listener.

    Raises:
        InvalidDocument: If a change breaks a rule of documents.
        KaleidoError: If a change cannot be made, or other models would draw than those that drew
            the sample.
    """
    document = sample.document
    for change in changes:
        document = change(document)
    require_valid("the edited document", check_document(document.to_json())[1])
    before = z_from_text(sample.row["z"])
    z, losses = z_of(document, tuple(before))

    # Imported here because they need torch: a mistake in a name or a change is told at once.
    from pipelines.sample.bundle import load_bundle
    from pipelines.sample.draw import draw_from_z
    from pipelines.sample.run import sample_row
    from pipelines.sample.writer import SHEET, line_of

    source = sample.row["source"]
    bundle = load_bundle(workspace, embedded=source == "embedded")
    if bundle.source != source:
        raise KaleidoError(
            str(sample.path),
            f"models of the {source} drew it, and only {bundle.source} ones are here.",
            "Name the workspace that drew it with --workspace.",
            code="model-mismatch",
        )
    settings = settings_of(sample.row["settings"], str(sample.path.with_name(LIST)))
    caption, index = sample.row["caption"], sample.row["index"]
    with new_folder(workspace.samples, name, f"{sample.path.stem}-edit", progress) as folder:
        (after,) = draw_from_z(bundle, caption, [z_to_text(z)], settings, [index])
        atomic_write(folder / "before.png", encode_png(sample.pixels))
        atomic_write(folder / "after.png", encode_png(after.pixels))
        line = line_of("after.png", sample_row(after, settings, bundle))
        atomic_write(folder / LIST, line.encode())
        atomic_write(folder / "after.z.json", f"{document.to_json()}\n".encode())
        sheet = contact_sheet([("before, after", [sample.pixels, after.pixels])])
        atomic_write(folder / SHEET, encode_png(sheet))
    lost = [f"{loss.path}: {loss.why}" for loss in losses]
    return EditSummary(folder, folder / SHEET, folder / "after.z.json", lost)


def settings_of(row: Mapping[str, Any], where: str) -> SampleSettings:
    """Return the settings of a listed sample; those that the list lacks have their defaults.

    Raises:
        KaleidoError: If a value has the wrong type or is out of range.
    """
    known = {item.name for item in fields(SampleSettings)}
    changes = {f"sample.{key}": value for key, value in row.items() if key in known}
    return override(Settings(), changes, where).sample
