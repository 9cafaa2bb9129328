"""`kaleido z`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.completion import complete_kinds
from kaleido_cli.flags import settings_of
from kaleido_cli.options import (
    JsonOption,
    WorkspaceOption,
    open_workspace,
    read_class_names,
    split_names,
)

if TYPE_CHECKING:
    from pipelines.documents.dialects.base import Context
    from pipelines.documents.document import Document

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check, convert, show and compare z documents and other tools' annotations.",
    epilog="Example: kaleido z convert captions/ --from ideogram4 --to kaleido.z --out documents",
)

INVALID = 2
"""Exit status where a file has an error."""

PathsArgument = Annotated[
    list[Path], typer.Argument(help="Files, or folders of files.", metavar="PATH...")
]
FromOption = Annotated[
    str, typer.Option("--from", metavar="FORMAT", help="The files' format; `kaleido z formats`.")
]
WidthOption = Annotated[
    int | None,
    typer.Option(help="Width of the pictures, for answers that count pixels.", show_default=False),
]
HeightOption = Annotated[
    int | None,
    typer.Option(help="Height of the pictures, for answers that count pixels.", show_default=False),
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="FORMAT", help="The format to write; `kaleido z formats`.")
]
LossOption = Annotated[
    str | None,
    typer.Option("--allow-loss", metavar="LOSSES", help="Losses to accept, with commas, or all."),
]
NamesOption = Annotated[
    Path | None,
    typer.Option("--names", metavar="DATA.YAML", help="Class names of YOLO labels."),
]


@app.command(epilog="Example: kaleido z formats")
def formats(as_json: JsonOption = False) -> None:
    """List the formats, and whether they can be written."""
    from pipelines.documents.dialects.base import WritableDialect
    from pipelines.documents.dialects.registry import DIALECTS

    rows = [
        {"name": form.name, "writes": isinstance(form, WritableDialect), "title": form.title}
        for form in DIALECTS.values()
    ]
    console.show(
        {"formats": rows},
        as_json,
        lambda result: console.table(
            [[r["name"], "yes" if r["writes"] else "", r["title"]] for r in result["formats"]],
            ["format", "written", ""],
        ),
    )


@app.command(epilog="Example: kaleido z verify captions/ --from ideogram4")
def verify(
    paths: PathsArgument,
    source: FromOption = "kaleido.z",
    width: WidthOption = None,
    height: HeightOption = None,
    names: NamesOption = None,
    as_json: JsonOption = False,
) -> None:
    """List every problem of files. The exit status is 2 if any file has an error.

    A description that contradicts the boxes beside it is a warning.
    """
    from pipelines.documents.convert import verify_files

    reports = list(verify_files(paths, source, _context(width, height, names)))
    console.show({"files": reports}, as_json, lambda result: _render_reports(result["files"]))
    if not all(report.valid for report in reports):
        raise typer.Exit(INVALID)


@app.command(epilog="Example: kaleido z convert instances.json --from coco --to yolo --out labels")
def convert(
    paths: PathsArgument,
    target: ToOption,
    source: FromOption = "kaleido.z",
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the new files.")
    ] = Path("converted"),
    allow_loss: LossOption = None,
    width: WidthOption = None,
    height: HeightOption = None,
    names: NamesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Convert files to another format. What it cannot hold must be allowed by name."""
    from pipelines.documents.convert import convert as run

    allowed = split_names(allow_loss) or ()
    result = run(paths, source, target, out, allowed, _context(width, height, names))
    console.show(result, as_json, _render_conversion)


@app.command(
    cls=settings_of(),
    epilog="Example: kaleido z export --to coco --out annotations --kinds boxes",
)
def export(
    context: typer.Context,
    target: ToOption,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="A new folder for the files.")
    ],
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A samples.jsonl; without one, the latents of the workspace.",
            show_default=False,
        ),
    ] = None,
    allow_loss: LossOption = None,
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help="Kinds of latents, with commas; by default all that are extracted.",
            autocompletion=complete_kinds,
        ),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write what was extracted or drawn for other tools.

    Each record with latents, or each sample, becomes a document with its key, caption and size.
    What the format cannot hold must be allowed by name.
    """
    allowed = split_names(allow_loss) or ()
    if path is not None:
        if kinds is not None or workspace is not None:
            raise typer.BadParameter("--kinds and --workspace go without FILE.")
        from pipelines.documents.convert import convert as run

        result = run([path], "kaleido.z", target, out, allowed)
        console.show(result, as_json, _render_conversion)
        return
    from pipelines.data.export import export as write

    opened = open_workspace(context, workspace)
    progress = console.ConsoleProgress()
    summary = write(opened, target, out, split_names(kinds), allowed, progress)
    console.show(summary, as_json, _render_export)


@app.command(epilog="Example: kaleido z show cat.z.json --picture cat-layout.png")
def show(
    path: Annotated[Path, typer.Argument(help="A file.", metavar="FILE")],
    source: FromOption = "kaleido.z",
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help="Write a drawing of the layouts; a new file.", show_default=False
        ),
    ] = None,
    names: NamesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show documents in words, and on request as a drawing."""
    from pipelines.core.files import require_free
    from pipelines.documents.problems import require_valid

    if picture is not None:
        require_free(picture)
    documents, report = _read(path, source, names)
    require_valid(str(path), report.problems)
    if picture is not None:
        _draw(documents, picture)
    forms = [document.model_dump(exclude_none=True) for document in documents]
    console.show({"documents": forms}, as_json, lambda _: _render_documents(documents))
    if picture is not None:
        console.say(f"Drawing: {picture}")


@app.command(epilog="Example: kaleido z diff before.z.json after.z.json")
def diff(
    first: Annotated[Path, typer.Argument(help="A document.", metavar="FILE")],
    second: Annotated[Path, typer.Argument(help="Another one.", metavar="FILE")],
    as_json: JsonOption = False,
) -> None:
    """Compare two documents. The exit status is 1 if they differ."""
    from pipelines.core.inputs import read_file
    from pipelines.documents.compare import differences
    from pipelines.documents.reading import read_document

    found = differences(*(read_document(read_file(path), str(path)) for path in (first, second)))
    console.show({"differences": found}, as_json, lambda _: _render_differences(found))
    if found:
        raise typer.Exit(1)


@app.command(epilog="Example: kaleido z schema > kaleido.z.schema.json")
def schema() -> None:
    """Print the JSON Schema of the z document."""
    import json

    from pipelines.documents.schema import json_schema

    print(json.dumps(json_schema(), indent=1))


def _context(width: int | None, height: int | None, names: Path | None) -> Context:
    from pipelines.documents.dialects.base import Context

    found = {} if names is None else read_class_names(names)
    return Context(width=width, height=height, names=found)


def _read(path: Path, source: str, names: Path | None) -> Any:
    from pipelines.documents.convert import read_files

    return next(iter(read_files([path], source, _context(None, None, names))))


def _draw(documents: list[Document], picture: Path) -> None:
    from pipelines.core.contact_sheet import contact_sheet
    from pipelines.core.files import atomic_write
    from pipelines.core.images import encode_png
    from pipelines.documents.thumbnail import thumbnail

    sheet = contact_sheet([("", [thumbnail(document) for document in documents[:64]])])
    atomic_write(picture, encode_png(sheet))


def _render_reports(reports: list[Any]) -> None:
    for report in reports:
        for problem in report.problems:
            mark = "" if problem.severity == "error" else "warning: "
            console.line(f"{report.name}: {mark}{problem}")
    faulty = sum(not report.valid for report in reports)
    documents = sum(report.documents for report in reports)
    console.line(f"{len(reports):,} files, {documents:,} documents; {faulty:,} files have errors")


def _render_conversion(result: Any) -> None:
    for report in result.reports:
        for problem in report.problems:
            console.line(f"{report.name}: {problem}")
    for kind, count in result.lost.items():
        console.line(f"lost: {kind}, {count:,} times")
    where = result.files[0] if len(result.files) == 1 else f"{len(result.files):,} files"
    console.line(f"{result.documents:,} documents written: {where}")


def _render_export(summary: Any) -> None:
    for kind, count in summary.lost.items():
        console.line(f"lost: {kind}, {count:,} times")
    console.line(
        f"{summary.documents:,} documents of {', '.join(summary.kinds)}; "
        f"{summary.without:,} records have none of these"
    )
    console.line(f"{summary.dialect}: {summary.files:,} files in {summary.folder}")


def _render_documents(documents: list[Document]) -> None:
    for document in documents:
        console.line(f"{document.key}: {document.description or document.caption or ''}".rstrip())
        if document.background:
            console.line(f"  background: {document.background}")
        for element in document.elements or ():
            console.line(f"  {_element_line(element)}")
        if document.palette:
            colours = (
                f"{s.hex} {s.weight / 10:g} %" if s.weight else s.hex for s in document.palette
            )
            console.line(f"  palette: {', '.join(colours)}")


def _element_line(element: Any) -> str:
    parts = [element.id, element.label or element.description or "", element.text or ""]
    if element.box is not None:
        parts.append(f"box {' '.join(f'{value:g}' for value in element.box)}")
    if element.colours:
        parts.append(" ".join(element.colours))
    return "  ".join(part for part in parts if part)


def _render_differences(found: list[Any]) -> None:
    for difference in found:
        before = "nothing" if difference.before is None else difference.before
        after = "nothing" if difference.after is None else difference.after
        console.line(f"{difference.path}: {before} -> {after}")
    if not found:
        console.line("The documents are equal.")
