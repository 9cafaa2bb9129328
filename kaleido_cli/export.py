"""`kaleido export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kaleido_cli import console
from kaleido_cli.captions import open_for_captions
from kaleido_cli.flags import settings_of
from kaleido_cli.options import JsonOption, WorkspaceOption, require_local
from pipelines.core.sizes import format_bytes

app = typer.Typer(add_completion=False)


@app.command(
    cls=settings_of("compute.*"),
    epilog="Example: kaleido export birds-model --licence CC-BY-4.0 --push-to-hub me/birds",
)
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="A new folder, or one of an earlier export.")],
    baseline: Annotated[bool, typer.Option("--baseline", help="Export the model without z.")] = (
        False
    ),
    licence: Annotated[
        str,
        typer.Option(
            metavar="SPDX",
            help="Licence of your models' weights, for the card: Apache-2.0, CC-BY-4.0 …",
            show_default=False,
        ),
    ] = "",
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace an export of other models, and push into a repository that holds "
            "something else.",
        ),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub",
            metavar="USER/NAME",
            help="Copy the folder to this repository on the Hugging Face hub, with the token in "
            "HF_TOKEN.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new repository a private one.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the workspace's models, or the embedded ones, as one folder for KaleidoPipeline.

    It holds prior, diffusion model, scheduler and a card with data, kinds of z and licence. The
    same command again changes nothing, so it also repeats a push that broke off.
    """
    if private and push_to_hub is None:
        raise typer.BadParameter("--private needs --push-to-hub.")
    require_local(folder)
    if push_to_hub is not None:
        from pipelines.models.publish import require_token

        require_token()
    opened = open_for_captions(context, workspace, has_captions=True)
    from pipelines.sample.export import REPLACED, export_models

    found = export_models(opened, folder, baseline, licence, overwrite)
    if not found.licence:
        console.say("The card states no licence of the weights; --licence does.")
    url = None
    if push_to_hub is not None:
        from pipelines.models.publish import push_folder

        url = push_folder(folder, push_to_hub, private, overwrite, REPLACED)
    console.show({"exported": found, "url": url}, as_json, _render)


def _render(shown: dict[str, Any]) -> None:
    found = shown["exported"]
    done = "is there already" if found.equal else "is written"
    console.line(
        f"The {found.source} {found.model} {done}: {found.folder}, {format_bytes(found.bytes)}"
    )
    if shown["url"]:
        console.line(f"Pushed: {shown['url']}")
