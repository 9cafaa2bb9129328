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
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="Export this adapter, such as models/adapter, instead of the workspace's models.",
            show_default=False,
        ),
    ] = None,
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

    It holds prior, diffusion model, scheduler and a card with data, kinds of z and licence; or an
    adapter, for KaleidoAdapter. The same command again changes nothing, so it also repeats a push
    that broke off.
    """
    if baseline and adapter is not None:
        raise typer.BadParameter("give --baseline or --adapter, not both.")
    if private and push_to_hub is None:
        raise typer.BadParameter("--private needs --push-to-hub.")
    require_local(folder)
    if push_to_hub is not None:
        from pipelines.models.publish import require_token

        require_token()
    if adapter is not None:
        from pipelines.bases.adapter_export import REPLACED, export_adapter

        found, replaced = export_adapter(adapter, folder, licence, overwrite), REPLACED
    else:
        from pipelines.sample.export import REPLACED as MODELS
        from pipelines.sample.export import export_models

        opened = open_for_captions(context, workspace, has_captions=True)
        found, replaced = export_models(opened, folder, baseline, licence, overwrite), MODELS
    if not found.licence:
        console.say("The card states no licence of the weights; --licence does.")
    url = None
    if push_to_hub is not None:
        from pipelines.models.publish import push_folder

        url = push_folder(folder, push_to_hub, private, overwrite, replaced)
    console.show({"exported": found, "url": url}, as_json, _render)


def _render(shown: dict[str, Any]) -> None:
    found = shown["exported"]
    done = "is there already" if found.equal else "is written"
    name = "adapter" if found.model == "adapter" else f"{found.source} {found.model}"
    console.line(f"The {name} {done}: {found.folder}, {format_bytes(found.bytes)}")
    if shown["url"]:
        console.line(f"Pushed: {shown['url']}")
