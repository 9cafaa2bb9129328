"""Flags made from the settings: each setting has one on every command that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import make_dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.core import TyperCommand

from kaleido_cli.completion import complete_kinds
from pipelines.core.errors import KaleidoError
from pipelines.workspace.config import describe, find_setting, parse
from pipelines.workspace.settings import SETTINGS, Setting

PANEL = "Settings (defaults of kaleido.toml)"

_CHANGES = "kaleido.changes"

_DOT = "__"  # in the names of parameters, which must be identifiers


def settings_of(*patterns: str, short: str = "") -> type[TyperCommand]:
    """Return a class of commands that take `--set` and a flag for each matching setting.

    Args:
        patterns: Which settings, as in ``prior.*``; none for `--set` alone.
        short: A prefix of keys that the flags may leave out: with ``boxes_`` the flag
            ``--boxes-model`` is also ``--model``.
    """
    chosen = [
        item
        for item in SETTINGS.values()
        if any(fnmatchcase(item.name, pattern) for pattern in patterns)
    ]

    class SettingsCommand(TyperCommand):
        """A command whose function finds the changed settings in its context."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.params = [*self.params, *_parameters(chosen, short)]

    return SettingsCommand


def changes_of(context: typer.Context) -> dict[str, Any]:
    """Return what the command line changes: ``section.key`` to value. A flag wins over `--set`."""
    changes: dict[str, Any] = context.meta.setdefault(_CHANGES, {})
    return changes


def setting_of(param: typer.CallbackParam) -> Setting | None:
    """Return the setting that a parameter of a command overrides, or None."""
    return SETTINGS.get(str(param.name).replace(_DOT, "."))


def _parameters(items: list[Setting], short: str) -> list[Any]:
    """Let Typer make options from a class that has a field per flag.

    Their values go to the context and not to the command's function.
    """
    setter = Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Override any setting; may be repeated. Lists take commas.",
            callback=_set,
        ),
    ]
    app = typer.Typer(add_completion=False)
    app.command()(
        make_dataclass("Flags", [("set", setter, None), *(_field(i, short) for i in items)])
    )
    parameters = typer.main.get_command(app).params
    for parameter in parameters:
        parameter.expose_value = False
    return parameters


def _field(item: Setting, short: str) -> tuple[str, Any, Any]:
    """Describe one flag as a field: name, type with its option, default."""
    keys = [item.key.removeprefix(short), item.key]
    spellings = dict.fromkeys(f"--{key.replace('_', '-')}" for key in keys)
    is_list = get_origin(item.type) is tuple
    metavar = "|".join(item.declared.choices) or None
    if is_list:
        metavar = "NAMES" if get_args(item.type)[0] is str else "NUMBERS"
    option = typer.Option(
        *spellings,
        *[item.declared.alias] * bool(item.declared.alias),
        help=describe(item),
        metavar=metavar,
        show_default=_shown(item.default),
        rich_help_panel=PANEL,
        callback=_flag,
        autocompletion=_completion(item),
    )
    kind = str if is_list else item.type
    return item.name.replace(".", _DOT), Annotated[kind | None, option], None


def _completion(item: Setting) -> Callable[[str], list[str]] | None:
    """Return what completes the value of a flag, if there is anything to choose from."""
    if item.key == "z_kinds":
        return complete_kinds
    choices = item.declared.choices
    if not choices:
        return None

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _shown(value: Any) -> str | bool:
    return (", ".join(map(str, value)) if isinstance(value, tuple) else str(value)) or False


def _flag(context: typer.Context, param: typer.CallbackParam, value: Any) -> None:
    if value is None:
        return
    item = setting_of(param)
    assert item is not None
    if item.declared.is_path and value:
        value = str(Path(value).resolve())
    if get_origin(item.type) is tuple:
        try:
            value = parse(item, value)
        except KaleidoError as error:
            raise typer.BadParameter(error.why, param_hint=param.opts[0]) from error
    changes_of(context)[item.name] = value


def _set(context: typer.Context, value: list[str] | None) -> None:
    for text in value or ():
        name, equals, given = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not like prior.steps=500.", param_hint="--set")
        item = find_setting(name.strip())
        changes_of(context).setdefault(item.name, parse(item, given))
