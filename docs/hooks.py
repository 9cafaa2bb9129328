"""Fills the reference pages from the code itself, so that they cannot fall behind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of the reference pages."""
    for mark, write in {"{{ commands }}": _commands, "{{ settings }}": _settings}.items():
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    return markdown


def _commands() -> str:
    sys.path.insert(0, str(ROOT))
    from kaleido_cli.app import COMMANDS, load

    parts = []
    for name in COMMANDS:
        command = load(name)
        parts.append(_command(command, f"kaleido {name}", "##"))
        for subcommand in getattr(command, "commands", {}).values():
            parts.append(_command(subcommand, f"kaleido {name} {subcommand.name}", "###"))
    return "\n".join(parts)


def _command(command: Any, name: str, heading: str) -> str:
    lines = [f"{heading} {name}", "", command.help, ""]
    params = [param for param in command.params if not getattr(param, "hidden", False)]
    if params:
        lines += ["| option | default | meaning |", "|---|---|---|"]
        lines += [_param(param) for param in params]
    lines += ["", "```", command.epilog.removeprefix("Example: "), "```", ""]
    return "\n".join(lines)


def _param(param: Any) -> str:
    names = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    default = "" if param.default in (None, False) else f"`{param.default}`"
    return f"| {names} | {default} | {(param.help or '').replace('|', chr(92) + '|')} |"


def _settings() -> str:
    sys.path.insert(0, str(ROOT))
    from pipelines.workspace.config import default_toml

    return f"```toml\n{default_toml()}```"
