"""Stream a Hugging Face dataset, by name or local path, into data shards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.extras import import_extra
from pipelines.core.progress import SILENT, Progress
from pipelines.data.caption_table import CAPTION_COLUMNS, FILE_COLUMNS
from pipelines.data.convert import options_of
from pipelines.data.rows import RawRow, find_column, write_rows
from pipelines.data.table import BYTE_COLUMNS
from pipelines.data.writer import DataSummary, Source
from pipelines.workspace.workspace import Workspace

VERSION = 2
DISK_MARKERS = ("dataset_info.json", "dataset_dict.json")
"""A folder that ``save_to_disk`` wrote holds one of these."""


def write_hub(
    workspace: Workspace,
    name: str,
    split: str = "train",
    config: str | None = None,
    revision: str | None = None,
    image_column: str | None = None,
    caption_column: str | None = None,
    limit: int | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> DataSummary:
    """Write the rows of a dataset as data shards, without downloading all of it.

    A row whose caption is a list gives one record for each. Images are bytes in the dataset or
    local files that it names. No code of the dataset's repository is run.

    Args:
        workspace: Where to write.
        name: A dataset's name on the hub, a folder of data files, or what ``save_to_disk`` wrote.
        split: The dataset's split; held-out records are chosen as for every other source.
        config: Name of the dataset's configuration, if it has several.
        revision: Branch, tag or commit; a commit makes the run repeatable.
        image_column: Column of the images; by default the first of the usual names.
        caption_column: Column of the captions; likewise.
        limit: Rows to read, or None for all.
        workers: Processes that decode pictures.
        overwrite: Replace data of another source.
        progress: Receives the progress.

    Raises:
        KaleidoError: If the package ``datasets`` is missing, the dataset cannot be opened or read,
            it lacks a column, or `data/` holds other data.
    """
    if "://" in name:
        raise KaleidoError(
            name,
            "it is an address, and a dataset is named.",
            "Give its name on the hub, like nlphuji/flickr30k, or a local folder.",
            "bad-option",
        )
    settings = workspace.settings.data
    options = {
        "dataset": str(Path(name).resolve()) if Path(name).exists() else name,
        "split": split,
        "config": config or "",
        "revision": revision or "",
        **options_of(settings),
        "image_column": image_column or "",
        "caption_column": caption_column or "",
        "limit": limit or 0,
    }
    with _explained(name):
        dataset = _open(name, split, config, revision)
        image = _column(dataset, image_column, (*BYTE_COLUMNS, *FILE_COLUMNS), name)
        caption = _column(dataset, caption_column, CAPTION_COLUMNS, name)
        # Only what is used is read: other columns may be large.
        dataset = _undecoded(dataset.select_columns([image, caption]), image)
        if limit is not None:
            dataset = dataset.take(limit)
    rows = _rows(dataset, name, image, caption)
    source = Source("data hub", VERSION, options)
    return write_rows(
        workspace,
        source,
        "hub",
        rows,
        None,
        workers=workers,
        overwrite=overwrite,
        progress=progress,
    )


def _open(name: str, split: str, config: str | None, revision: str | None) -> Any:
    datasets = import_extra("datasets", "hub")
    folder = Path(name)
    if not any((folder / marker).is_file() for marker in DISK_MARKERS):
        return datasets.load_dataset(name, config, split=split, revision=revision, streaming=True)
    found = datasets.load_from_disk(name)
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise ValueError(f"no split {split!r}; it has: {', '.join(found)}")
        found = found[split]
    return found.to_iterable_dataset()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what `datasets` raises into our error.

    It passes on whatever its readers, the hub's client and the network raise, and those have no
    common base.
    """
    try:
        yield
    except KaleidoError:
        raise
    except Exception as error:
        reason = str(error).strip().rstrip(".").replace("\n", " ")
        raise KaleidoError(
            name,
            f"the dataset cannot be read: {reason}.",
            "Check its name, --split, --config and --revision, and the connection; what was "
            "written stays, and the same command goes on.",
            "bad-data",
        ) from error


def _column(dataset: Any, asked: str | None, usual: Sequence[str], name: str) -> str:
    known = list(dataset.column_names or next(iter(dataset)))
    return find_column(name, known, [asked] if asked else usual)


def _undecoded(dataset: Any, column: str) -> Any:
    """Keep images encoded: they are decoded once, where a bad one is recorded."""
    from datasets import Image

    if isinstance((dataset.features or {}).get(column), Image):
        return dataset.cast_column(column, Image(decode=False))
    return dataset


def _rows(dataset: Any, name: str, image: str, caption: str) -> Iterator[RawRow]:
    with _explained(name):
        for number, row in enumerate(dataset):
            key, row_name = f"row-{number:08d}", f"row {number} of {name}"
            yield from RawRow.of_cells(key, row_name, row[image], row[caption], Path())
