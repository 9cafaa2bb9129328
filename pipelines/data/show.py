"""Draw records beside their latents, for people to inspect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.contact_sheet import contact_sheet, enlarge
from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.core.seeds import generator
from pipelines.latents.base import Latent
from pipelines.latents.sequence import order_kinds
from pipelines.workspace.inputs import require_data
from pipelines.workspace.manifest import read_rows
from pipelines.workspace.reader import extracted_kinds, read_joined
from pipelines.workspace.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

ABREAST = 4
"""Approximate number of pictures per row of a sheet."""

SIDE = 256
"""Pictures are enlarged to at least this side before latents are drawn on them, so that labels of
nine pixels can be read."""


@dataclass(frozen=True)
class ShownRecord:
    """A record as it is listed.

    Attributes:
        key: Its key.
        caption: Its caption.
        split: ``train`` or ``heldout``.
        latents: Kind -> the latent as text of z; kinds without a latent are absent.
        readable: Likewise, for people.
    """

    key: str
    caption: str
    split: str
    latents: Mapping[str, str]
    readable: Mapping[str, str]


@dataclass(frozen=True)
class ShowSummary:
    """The result of `show`.

    Attributes:
        sheet: The file that was written.
        records: The records, in the order of the sheet.
    """

    sheet: Path
    records: Sequence[ShownRecord]


def show(
    workspace: Workspace,
    count: int = 8,
    kinds: Sequence[str] | None = None,
    keys: Sequence[str] = (),
) -> ShowSummary:
    """Draw records and their latents into ``logs/show.png``.

    Args:
        workspace: With data.
        count: Number of records, sampled with ``data.seed``; ignored if `keys` are given.
        kinds: Kinds of latents; None takes all that are extracted for every shard shown.
        keys: Keys of the records to show.

    Raises:
        InputMissing: If there is no data, or a kind is not extracted.
        KaleidoError: If no record has a key.
    """
    chosen = choose_records(workspace, count, keys)
    asked = extracted_kinds(workspace, list(chosen)) if kinds is None else order_kinds(kinds)
    records = list(read_chosen(workspace, chosen, asked))
    sheet = workspace.logs / "show.png"
    atomic_write(sheet, encode_png(sheet_of(records, asked)))
    return ShowSummary(sheet, [describe(record) for record in records])


def choose_records(
    workspace: Workspace, count: int, keys: Sequence[str] = ()
) -> dict[Path, set[str]]:
    """Sample records with ``data.seed``, or choose them by key.

    Returns:
        Data shard -> keys, in the order of the data.

    Raises:
        InputMissing: If there is no data.
        KaleidoError: If no record has a key.
    """
    rows = [
        (path, row.key)
        for path in require_data(workspace)
        for row in read_rows(path)
        if row.outcome == "ok"
    ]
    if not rows:
        raise InputMissing(
            str(workspace.data),
            "no input row became a record.",
            "`kaleido status` lists why.",
        )
    if keys:
        unknown = sorted(set(keys) - {key for _, key in rows})
        if unknown:
            raise KaleidoError(
                ", ".join(unknown), "no record has this key.", f"One is {rows[0][1]}.", "bad-option"
            )
        rows = [row for row in rows if row[1] in keys]
    else:
        rng = generator(workspace.settings.data.seed, "show", len(rows))
        places = sorted(rng.permutation(len(rows))[:count].tolist())
        rows = [rows[place] for place in places]
    chosen: dict[Path, set[str]] = {}
    for path, key in rows:
        chosen.setdefault(path, set()).add(key)
    return chosen


def read_chosen(
    workspace: Workspace, chosen: Mapping[Path, set[str]], kinds: Sequence[str] = ()
) -> Iterator[Record]:
    """Read the records of `choose_records`, joined with their latents."""
    for path, keys in chosen.items():
        for record in read_joined(workspace, path, kinds):
            if record.key in keys:
                yield record


def sheet_of(records: Sequence[Record], kinds: Sequence[str]) -> np.ndarray:
    """Lay out records: each picture, then each kind of latent drawn over it.

    Records share a row as long as it has about `ABREAST` pictures.
    """
    groups = []
    for record in records:
        picture = enlarge(record.pixels, SIDE)
        latents: list[Latent] = [record.latents[kind] for kind in kinds if kind in record.latents]
        lacking = [kind for kind in kinds if kind not in record.latents]
        note = f"   (no {', '.join(lacking)})" if lacking else ""
        drawn = [picture, *(latent.draw(picture) for latent in latents)]
        groups.append((f"{record.key}: {record.caption}{note}", drawn))
    columns = 1 + len(kinds)
    return contact_sheet(groups, columns, across=max(ABREAST // columns, 1))


def describe(record: Record) -> ShownRecord:
    """Return a record's caption, split and latents as text."""
    found = record.latents.items()
    latents = {kind: latent.to_text() for kind, latent in found}
    readable = {kind: latent.readable() for kind, latent in found}
    return ShownRecord(record.key, record.caption, record.split, latents, readable)
