"""Name the command that comes next in a workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaleido_cli import console

if TYPE_CHECKING:
    from pipelines.workspace.workspace import Workspace


def show_next_step(workspace: Workspace, as_json: bool) -> None:
    """Print the next step to stderr; programs that read JSON are not told."""
    if not as_json:
        console.say(f"Next: {next_step(workspace)}")


def next_step(workspace: Workspace) -> str:
    """Return the command that comes next, judged by what the workspace holds."""
    from pipelines.models.registry import own_models
    from pipelines.workspace.inputs import extracted_kinds
    from pipelines.workspace.source import holds_scenes

    if not workspace.data_shards():
        return (
            "`kaleido data folder PICTURES` reads your own pictures and captions, `kaleido data "
            "scenes` draws a toy data set."
        )
    kinds, models = extracted_kinds(workspace), own_models(workspace)
    scenes = holds_scenes(workspace)
    if not kinds:
        return (
            "`kaleido extract all`"
            if scenes
            else "`kaleido extract palette` works on any pictures; `kaleido extract boxes --model "
            "DETECTOR` needs a detector that knows yours."
        )
    wanted = set(workspace.settings.prior.z_kinds)
    z = "" if wanted <= set(kinds) else f" --z {','.join(kinds)}"
    if "prior" not in models:
        return f"`kaleido train prior{z}`"
    if "diffusion" not in models:
        return f"`kaleido train diffusion{z}`"
    if not any((workspace.root / "samples").glob("*")):
        return '`kaleido sample "A CAPTION OF YOURS"`'
    if "baseline" not in models:
        return f"`kaleido train diffusion{z} --baseline` trains the model to compare with."
    return "`kaleido evaluate`" + ("" if scenes else " --features facebook/dinov2-base")
