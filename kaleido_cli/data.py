"""`kaleido data`."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.flags import settings_of
from kaleido_cli.next_step import show_next_step
from kaleido_cli.options import (
    JsonOption,
    WorkspaceOption,
    ZOption,
    open_workspace,
    read_class_names,
    require_local,
    split_names,
)
from pipelines.core.errors import KaleidoError

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace

LISTED = 5
"""Number of rows printed per finding; --json prints all."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Bring images and captions into the workspace.",
    epilog="Example: kaleido data scenes --n 2000 --seed 1 --shard-size 500",
)

DRAWING = ("data.image_size", "data.shard_size", "data.seed")
"""Settings of the commands that generate images."""

ImageColumnOption = Annotated[
    str | None,
    typer.Option(help="Column of images: paths, or in Parquet bytes.", show_default=False),
]
CaptionColumnOption = Annotated[
    str | None, typer.Option(help="Column of captions.", show_default=False)
]
OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace data of another source or other options, even if some records now fail.",
    ),
]
WorkersOption = Annotated[int, typer.Option(min=1, help="Local worker processes.")]


@app.command(
    cls=settings_of(*DRAWING),
    epilog="Example: kaleido data scenes --n 2000 --seed 1 --shard-size 500",
)
def scenes(
    context: typer.Context,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Number of scenes.")] = 2000,
    hard: Annotated[
        bool, typer.Option("--hard", help="Draw up to six freely placed objects.")
    ] = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 1,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw captioned scenes of simple shapes, with ground truth."""
    from pipelines.scenes.generate import write_scenes

    opened = open_workspace(context, workspace)
    summary = write_scenes(
        opened,
        n,
        hard=hard,
        overwrite=overwrite,
        workers=workers,
        progress=console.ConsoleProgress(),
    )
    _show_written(opened, summary, as_json, "scenes")


@app.command(
    cls=settings_of("data.*"),
    epilog="Example: kaleido data folder ~/pictures",
)
def folder(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The folder of images and captions.")],
    workers: WorkersOption = 1,
    overwrite: OverwriteOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a folder of images with captions.

    A caption is a .txt or .caption file of the image's name, or a row of captions.jsonl, .csv or
    .tsv in the folder (columns file and caption), or of the metadata.jsonl or .csv of Hugging
    Face's imagefolder. Unusable files are recorded with the reason; the folder is not changed.
    """
    from pipelines.data.folder import write_folder

    require_local(path)
    opened = open_workspace(context, workspace)
    summary = write_folder(
        opened,
        path,
        workers=workers,
        overwrite=overwrite,
        progress=console.ConsoleProgress(),
    )
    _show_written(opened, summary, as_json)


@app.command(
    cls=settings_of("data.*"),
    epilog="Example: kaleido data table train.parquet --caption-column text",
)
def table(
    context: typer.Context,
    path: Annotated[
        Path, typer.Argument(help="A .parquet, .csv, .tsv or .jsonl file, or a folder of Parquet.")
    ],
    image_column: ImageColumnOption = None,
    caption_column: CaptionColumnOption = None,
    digest_column: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Column of MD5, SHA-1 or SHA-256 of what is at the addresses, which is checked.",
            show_default=False,
        ),
    ] = None,
    fetch: Annotated[
        bool,
        typer.Option(
            "--fetch",
            help="Fetch images that are addresses: http://, https://, s3://, gs://, hf://.",
        ),
    ] = False,
    private_addresses: Annotated[
        bool,
        typer.Option(
            "--private-addresses",
            help="Also ask servers of this machine and of private networks.",
        ),
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed", help="Fetch failed rows of finished shards again, and only those."
        ),
    ] = False,
    workers: WorkersOption = 1,
    overwrite: OverwriteOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a table of images and captions.

    Paths are absolute or relative to the table's folder. By default, common column names are
    tried: image, file, path and so on, and caption or text. A list of captions makes one record
    each. Unusable rows are recorded with the reason.
    """
    from pipelines.data.table import write_table
    from pipelines.data.web import Web

    if not fetch and (digest_column or private_addresses or retry_failed):
        raise typer.BadParameter(
            "--digest-column, --private-addresses and --retry-failed need --fetch."
        )
    require_local(path)
    opened = open_workspace(context, workspace)
    with closing(Web(private_addresses)) if fetch else nullcontext() as web:
        summary = write_table(
            opened,
            path,
            image_column,
            caption_column,
            workers=workers,
            overwrite=overwrite,
            progress=console.ConsoleProgress(),
            web=web,
            digest_column=digest_column,
            retry_failed=retry_failed,
        )
    _show_written(opened, summary, as_json)


@app.command(
    cls=settings_of("data.*"),
    epilog="Example: kaleido data hub nlphuji/flickr30k --split test --limit 5000",
)
def hub(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(help="A Hugging Face dataset, or the folder of a local one.")
    ],
    split: Annotated[str, typer.Option(help="Split of the dataset.")] = "train",
    config: Annotated[
        str | None, typer.Option(help="Its configuration, if several.", show_default=False)
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit.", show_default=False)
    ] = None,
    image_column: ImageColumnOption = None,
    caption_column: CaptionColumnOption = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Rows to read (default: all).", show_default=False)
    ] = None,
    workers: WorkersOption = 1,
    overwrite: OverwriteOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Stream a Hugging Face dataset (extra: hub).

    Only the rows that are read are downloaded, and no code of the dataset is run. A row with
    several captions makes one record each.
    """
    from pipelines.data.hub import write_hub

    opened = open_workspace(context, workspace)
    summary = write_hub(
        opened,
        name,
        split,
        config,
        revision,
        image_column,
        caption_column,
        limit,
        workers=workers,
        overwrite=overwrite,
        progress=console.ConsoleProgress(),
    )
    _show_written(opened, summary, as_json)


@app.command(
    cls=settings_of(*DRAWING),
    epilog="Example: kaleido data emoji --split concept",
)
def emoji(
    context: typer.Context,
    styles: Annotated[
        str | None,
        typer.Option(
            help="noto, fluent, twemoji, openmoji, emojione, by commas (default: all).",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(help="Hold out single drawings (pair), or concepts in all styles (concept)."),
    ] = "pair",
    overwrite: OverwriteOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch openly licensed emoji, each concept drawn by several artists (extra: emoji).

    npm downloads icon sets at pinned versions once, and they are verified. A caption has the
    concept's name and tags, never the style; licence and credit are kept with each drawing.
    """
    from pipelines.data.emoji.write import write_emoji

    opened = open_workspace(context, workspace)
    summary = write_emoji(
        opened,
        split_names(styles) or (),
        split,
        overwrite=overwrite,
        progress=console.ConsoleProgress(),
    )
    _show_written(opened, summary, as_json, "drawings")


@app.command(
    cls=settings_of(
        "data.image_size", "data.fit", "data.max_pixels", "data.max_caption", "data.seed"
    ),
    epilog="Example: kaleido data webdataset ~/laion/shards",
)
def webdataset(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            help="A shard, a folder of shards, or an address: s3://bucket/{00000..00099}.tar."
        ),
    ],
    workers: WorkersOption = 1,
    overwrite: OverwriteOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read shards in webdataset's layout, as img2dataset writes them.

    A row is an image, a caption (.txt, .caption, or caption or text in the .json), and optionally
    a licence in the .json. Unusable rows are recorded with the reason, also if a shard is
    truncated; no shard is changed.
    """
    from pipelines.data.webdataset import write_webdataset

    opened = open_workspace(context, workspace)
    summary = write_webdataset(
        opened,
        source,
        workers=workers,
        overwrite=overwrite,
        progress=console.ConsoleProgress(),
    )
    _show_written(opened, summary, as_json)


@app.command(
    cls=settings_of(), epilog="Example: kaleido data annotate instances_train2017.json --from coco"
)
def annotate(
    context: typer.Context,
    paths: Annotated[
        list[Path], typer.Argument(help="Files of annotations, or folders.", metavar="PATH...")
    ],
    source: Annotated[
        str, typer.Option("--from", metavar="FORMAT", help="Their format; see `kaleido z formats`.")
    ],
    names: Annotated[
        Path | None,
        typer.Option("--names", metavar="DATA.YAML", help="Class names of YOLO labels."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Attach existing annotations to the records, by the names of the pictures.

    They are written to layouts/, transformed like the pictures by data.fit. `kaleido extract boxes
    --from layouts` converts them to latents.
    """
    from pipelines.data.annotate import annotate as run
    from pipelines.documents.dialects.base import Context

    opened = open_workspace(context, workspace)
    progress = console.ConsoleProgress()
    found = Context() if names is None else Context(names=read_class_names(names))
    summary = run(opened, paths, source, found, progress)
    console.show(summary, as_json, _render_annotated)


@app.command(
    cls=settings_of(),
    epilog="Example: kaleido data check --fix ../clean-ws",
)
def check(
    context: typer.Context,
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write the data without copies and leaks to the workspace in this folder.",
            show_default=False,
        ),
    ] = None,
    licences: Annotated[
        str | None,
        typer.Option(
            "--licences", help="With --fix: the licences to keep, by commas.", show_default=False
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find copies, copies across the split, and repeated captions, which harm training.

    Images are copies if they look alike, in any format or size. The workspace is not changed; with
    --fix, the remaining data are written to another workspace, which may exist.
    """
    from pipelines.data.check import check_data

    if fix is None and (licences is not None or overwrite):
        raise KaleidoError(
            "--licences or --overwrite",
            "they only apply when data are written.",
            "Add --fix with the folder of another workspace.",
            code="bad-option",
        )
    if fix is not None:
        require_local(fix)
    source, progress = open_workspace(context, workspace), console.ConsoleProgress()
    found = check_data(source, progress)
    if fix is None:
        console.show(found, as_json, _render_checked)
        return
    from pipelines.data.filter import write_filtered

    summary = write_filtered(source, fix, found, split_names(licences), overwrite, progress)
    console.show(summary, as_json, lambda result: console.show_counts(result, "records"))
    summary.require_records()


@app.command(
    cls=settings_of("data.seed"), epilog="Example: kaleido data show --n 12 --z boxes,palette"
)
def show(
    context: typer.Context,
    keys: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY]...", help="Records; by default random ones."),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="Records to draw at random.")] = 8,
    z: ZOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Draw records with their latents to logs/show.png, and list them.

    By default with all extracted kinds.
    """
    from pipelines.data.show import show as run

    summary = run(open_workspace(context, workspace), n, split_names(z), tuple(keys or ()))
    console.show(summary, as_json, _render_shown)


def _show_written(workspace: Workspace, summary: Any, as_json: bool, noun: str = "records") -> None:
    console.show(summary, as_json, lambda result: console.show_counts(result, noun))
    summary.require_records(noun)
    show_next_step(workspace, as_json)


def _render_checked(summary: Any) -> None:
    splits = ", ".join(f"{count:,} {split}" for split, count in summary.splits.items())
    console.line(f"{summary.records:,} records ({splits}); {summary.failed:,} input rows failed")
    console.line(f"{len(summary.copies):,} images look like an earlier one")
    for copy in summary.copies[:LISTED]:
        console.line(f"  {copy.key} like {copy.of}")
    console.line(f"{len(summary.leaks):,} of them are on the other side of the split")
    for copy in summary.leaks[:LISTED]:
        console.line(f"  {copy.key} ({copy.splits[1]}) like {copy.of} ({copy.splits[0]})")
    console.line(f"{len(summary.repeated):,} captions occur in several records")
    for caption, count in summary.repeated[:LISTED]:
        console.line(f"  {count:,} times: {caption}")
    console.line(f"{len(summary.short):,} captions have a single word")
    licences = ", ".join(f"{count:,} {name}" for name, count in summary.licences.items())
    console.line(f"licences: {licences}")


def _render_shown(summary: Any) -> None:
    console.show_records(summary.records)
    console.line(str(summary.sheet))


def _render_annotated(summary: Any) -> None:
    console.line(
        f"{summary.documents:,} annotations: {summary.annotated:,} records have one, "
        f"{summary.without:,} have none, {summary.failed:,} do not fit their picture"
    )
    for key, reason in summary.failures:
        console.line(f"  {key}: {reason}")
    if summary.unused_count:
        named = ", ".join(summary.unused)
        console.line(f"{summary.unused_count:,} belong to no record: {named}")
    problems = sum(len(report.problems) for report in summary.reports)
    if problems:
        console.line(f"{problems:,} problems; `kaleido z verify` lists them")
    console.line("Next: kaleido extract boxes --from layouts")
