"""The command table. A command's module is imported when that command is called, not before."""

from __future__ import annotations

import errno
import sys
import traceback
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from kaleido_cli import __version__, console
from kaleido_cli.failures import exit_status, explain

COMMANDS = {
    "init": "Make a workspace.",
    "data": "Bring images and captions into the workspace.",
    "extract": "Compute latents from the images.",
    "train": "Train models and adapters.",
    "sample": "Draw pictures of captions.",
    "plan": "Draw z alone: layouts and descriptions, without pictures.",
    "base": "Show what a text-to-image model of others is, and what fits on which GPU.",
    "edit": "Change what a sample shows, and draw it again.",
    "z": "Check, convert, show and compare z documents.",
    "evaluate": "Compare Kaleido with the baseline and write a report.",
    "export": "Write the models as one folder, and push it to the Hugging Face hub.",
    "push": "Copy the workspace to an object store.",
    "pull": "Copy a workspace from an object store.",
    "status": "Show what the workspace holds.",
    "clean": "Remove what killed and replaced runs have left.",
    "config": "Show the settings and where each comes from.",
    "doctor": "Show versions, devices and what is installed.",
    "demo": "Run the whole chain, small, in a new workspace.",
}
"""Command to its line in `kaleido --help`; `kaleido_cli/COMMAND.py` holds its `app`."""


ELSEWHERE = {
    **dict.fromkeys(
        ("generate", "predict", "infer", "inference", "draw", "run", "txt2img"), "sample"
    ),
    **dict.fromkeys(("help", "man", "usage"), "--help"),
    **dict.fromkeys(("version", "about"), "--version"),
    **dict.fromkeys(
        ("import", "ingest", "prepare", "load", "preprocess", "dataset"), "data folder"
    ),
    **dict.fromkeys(("upload", "backup"), "push"),
    **dict.fromkeys(("download", "clone", "fetch"), "pull"),
    **dict.fromkeys(("fit", "finetune", "fine-tune", "learn"), "train prior"),
    **dict.fromkeys(("caption", "describe"), "extract descriptions"),
    **dict.fromkeys(("detect", "encode", "annotate", "label"), "extract all"),
    **dict.fromkeys(("eval", "test", "benchmark", "compare", "metrics", "validate"), "evaluate"),
    **dict.fromkeys(("new", "create", "start", "setup"), "init"),
    **dict.fromkeys(("info", "list", "ls", "show"), "status"),
    **dict.fromkeys(("settings", "configure", "set"), "config"),
    **dict.fromkeys(("quickstart", "example", "tutorial"), "demo"),
    **{name: f"train {name}" for name in ("prior", "diffusion", "tokenizer", "joint", "adapter")},
    **{
        name: f"data {name}" for name in ("folder", "scenes", "table", "hub", "webdataset", "check")
    },
}
"""What other tools call a command -> ours."""


USAGE_ERROR: Any = typer.BadParameter.__base__
"""Click's error of a wrong command line, which Typer has no public name for."""


class Group(TyperGroup):
    """A group of subcommands, such as `kaleido data`, that never says no without an offer."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a subcommand; Typer offers near names, others are looked up or listed."""
        try:
            return super().resolve_command(ctx, args)
        except USAGE_ERROR as error:
            if "Did you mean" not in error.message:
                error.message = f"{error.message.rstrip('.')}. {self._offer(args[0])}"
            raise

    def _offer(self, word: str) -> str:
        suggested = ELSEWHERE.get(word, "")
        if suggested.startswith(f"{self.name} "):
            return f"Did you mean `kaleido {suggested}`?"
        return f"Known: {', '.join(self.commands)}."


def load(name: str) -> Any:
    """Import a command's module and return its click command."""
    made = import_module(f"kaleido_cli.{name}").app
    made.info.cls = Group
    command = typer.main.get_command(made)
    command.name = name
    for item in (command, *getattr(command, "commands", {}).values()):
        item.help = _join_lines(item.help or "")
    return command


def _join_lines(text: str) -> str:
    """Make each paragraph one line: Typer would break lines where the source does."""
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


STOPPED = 130
"""Exit status after Ctrl-C."""


class LazyGroup(TyperGroup):
    """A group that lists `COMMANDS` and imports only the command that is called.

    It also shows errors that a user can correct as text, without a traceback.
    """

    def __init__(self, **attrs: Any) -> None:
        stubs = {name: TyperCommand(name, help=line) for name, line in COMMANDS.items()}
        super().__init__(**attrs | {"commands": stubs})
        self.help = _join_lines(self.help or "")

    def get_params(self, ctx: Any) -> list[Any]:
        """Give flags a default: to turn None into False, Typer would import pydantic (80 ms)."""
        params = super().get_params(ctx)
        for param in params:
            if getattr(param, "is_flag", False) and param.default is None:
                param.default = False
        return params

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Replace the stub that the table holds by the real command."""
        if args[0] not in COMMANDS and (suggested := ELSEWHERE.get(args[0])):
            ctx.fail(f"No such command {args[0]!r}. Did you mean `kaleido {suggested}`?")
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            result = super().invoke(ctx)
            if sys.stdout is not None:
                sys.stdout.flush()  # while a full disk can still be reported
            return result
        except KeyboardInterrupt as error:
            console.say("Stopped.")
            raise typer.Exit(STOPPED) from error
        except Exception as error:
            raise typer.Exit(_report(error, ctx.params["verbose"])) from error

    def main(self, *args: Any, **extra: Any) -> Any:
        """Parse the command line and run it; help and version are printed while parsing."""
        try:
            return super().main(*args, **extra)
        except Exception as error:
            sys.exit(_report(error, verbose=False))


def _report(error: Exception, verbose: bool) -> int:
    """Print an error that `explain` knows and return the exit status; raise any other."""
    broken_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
    known = None if broken_pipe else explain(error)  # Typer ends quietly if our reader is gone
    if known is None:
        raise error
    if verbose:
        traceback.print_exception(error)
    console.show_error(known)
    return exit_status(known)


app = typer.Typer(
    name="kaleido",
    cls=LazyGroup,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    invoke_without_command=True,
    epilog='Begin with `kaleido sample "two circles and a star"`, which draws with the embedded '
    "models, `kaleido demo`, which shows the whole chain, or `kaleido init my-ws` for your own "
    "pictures.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"kaleido {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    context: typer.Context,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", envvar="KALEIDO_DEBUG", help="Show tracebacks of errors."),
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Diverse pictures from captions: draw a latent z first, then the picture that z describes.

    Every step reads a folder of the workspace and writes another, so each can be repeated, resumed
    or inspected.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
