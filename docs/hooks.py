"""Fills the reference pages from the code itself, so that they cannot fall behind."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "pipelines" / "documents" / "kaleido.z.schema.json"


def on_files(files: Any, config: Any) -> Any:
    """Publish the JSON Schema of the z document beside its page."""
    from mkdocs.structure.files import File

    name = f"reference/{SCHEMA.name}"
    files.append(File.generated(config, name, abs_src_path=str(SCHEMA)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marks of the reference pages."""
    sys.path.insert(0, str(ROOT))
    writers = {
        "{{ commands }}": _commands,
        "{{ settings }}": _settings,
        "{{ errors }}": _errors,
        "{{ z fields }}": _z_fields,
    }
    for mark, write in writers.items():
        if mark in markdown:
            markdown = markdown.replace(mark, write())
    return markdown


def _commands() -> str:
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
    shown = getattr(param, "show_default", False)
    default = shown if isinstance(shown, str) else param.default
    default = "" if default in (None, False) else f"`{default}`"
    return f"| {names} | {default} | {_cell(param.help or '')} |"


def _settings() -> str:
    """Write a table per section, from the declarations."""
    from pipelines.workspace.config import describe, format_value
    from pipelines.workspace.settings import SECTIONS, SETTINGS

    flags = _flags()
    parts = []
    for section, about in SECTIONS.items():
        parts += [f"## [{section}]", "", about, ""]
        parts += ["| setting | default | meaning | flag |", "|---|---|---|---|"]
        for item in SETTINGS.values():
            if item.section == section:
                cells = [f"`{item.key}`", f"`{format_value(item.default)}`", _cell(describe(item))]
                parts.append(f"| {' | '.join([*cells, flags[item.name]])} |")
        parts.append("")
    return "\n".join(parts)


def _flags() -> dict[str, str]:
    """Return ``section.key`` to its flags, each with the commands that take it."""
    from kaleido_cli.app import COMMANDS, load
    from kaleido_cli.flags import setting_of

    found: dict[str, dict[str, list[str]]] = {}
    for name in COMMANDS:
        command = load(name)
        for subcommand, leaf in (getattr(command, "commands", {}) or {"": command}).items():
            for param in leaf.params:
                if (item := setting_of(param)) is not None:
                    takers = found.setdefault(item.name, {}).setdefault(param.opts[0], [])
                    takers.append(f"{name} {subcommand}".strip())
    return {
        name: "; ".join(f"`{flag}` of {', '.join(takers)}" for flag, takers in flags.items())
        for name, flags in found.items()
    }


def _errors() -> str:
    """Write the table of error codes."""
    from pipelines.core.errors import ERROR_CODES

    rows = [f"| `{code}` | {_cell(meaning)} |" for code, meaning in ERROR_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _z_fields() -> str:
    """Write a table per part of the z document, from its JSON Schema."""
    schema = json.loads(SCHEMA.read_text("utf-8"))
    order = ("Image", "Style", "Element", "Ellipse", "Mask", "Swatch", "Relation", "VisualTokens")
    parts = [_z_part("The document", schema)]
    parts += [_z_part(name, schema["$defs"][name]) for name in (*order, "Origin", "Lost")]
    return "\n".join(parts)


def _z_part(name: str, part: Any) -> str:
    about, _, attributes = part["description"].partition("\n\nAttributes:\n")
    meanings = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", attributes, re.MULTILINE))
    lines = [f"### {name}", "", _plain(about), "", "| key | value | meaning |", "|---|---|---|"]
    for key, value in part["properties"].items():
        need = "; always" if key in part.get("required", ()) else ""
        meaning = _cell(_plain(meanings.get(key, "")))
        lines.append(f"| `{key}` | {_cell(_z_type(value))}{need} | {meaning} |")
    return "\n".join([*lines, ""])


def _z_type(value: Any) -> str:
    """Say in words what a value may be."""
    if "$ref" in value:
        name = value["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in value:
        return f"`{json.dumps(value['const'])}`"
    if "enum" in value:
        return " or ".join(f"`{json.dumps(item)}`" for item in value["enum"])
    match value.get("type"):
        case "array" if "prefixItems" in value:
            return f"{len(value['prefixItems'])} of: {_z_type(value['prefixItems'][0])}"
        case "array":
            most = f", at most {value['maxItems']:,}" if "maxItems" in value else ""
            return f"list of {_z_type(value['items'])}{most}"
        case "object":
            return "object"
        case "string" if "pattern" in value:
            return "`#RRGGBB`, upper case"
        case "string":
            most = f", at most {value['maxLength']:,} characters" if "maxLength" in value else ""
            return f"text{most}"
        case kind:
            return f"{'whole number' if kind == 'integer' else 'number'}{_z_range(value)}"


def _z_range(value: Any) -> str:
    if "minimum" in value and "maximum" in value:
        return f" from {value['minimum']:,} to {value['maximum']:,}"
    if "minimum" in value and "exclusiveMaximum" in value:
        return f" from {value['minimum']:,}, below {value['exclusiveMaximum']:,}"
    if "minimum" in value:
        return f", {value['minimum']:,} or more"
    return f" above {value['exclusiveMinimum']:,}" if "exclusiveMinimum" in value else ""


def _plain(text: str) -> str:
    """Write a docstring's text as one line of Markdown."""
    return " ".join(text.split()).replace("``", "`")
