"""Reading, checking and writing `kaleido.toml`; `settings.py` declares the settings."""

from __future__ import annotations

import json
import math
import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_origin

from pipelines.core.errors import KaleidoError, nearest
from pipelines.workspace.settings import (
    POSITIVE,
    RETIRED,
    SECTIONS,
    SETTINGS,
    Declared,
    Setting,
    Settings,
)

COMMAND_LINE = "the command line"

_TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text in quotes"}
_WIDTH = 98


def load_settings(path: Path) -> Settings:
    """Read a `kaleido.toml`; settings that it leaves out keep their defaults.

    Raises:
        KaleidoError: If the file cannot be read, names an unknown section or key, or a value has
            the wrong type or is out of range.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8-sig"))  # Windows editors write a mark
    except OSError as error:
        raise KaleidoError(str(path), f"it cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise _wrong(str(path), f"it is not valid TOML ({error}).", "Correct it.") from error
    changes: dict[str, Any] = {}
    for section, values in document.items():
        if not isinstance(values, dict):
            raise _wrong(
                f"{section!r} in {path}",
                "a setting stands outside a section.",
                "Move it under one, such as [sample].",
            )
        _require_section(section, str(path))
        names = {f"{section}.{key}": value for key, value in values.items()}
        changes |= {name: value for name, value in names.items() if name not in RETIRED}
    return override(Settings(), changes, where=str(path))


def override(settings: Settings, changes: Mapping[str, Any], where: str = COMMAND_LINE) -> Settings:
    """Return settings with some values changed.

    Args:
        settings: The settings to start from; they are not modified.
        changes: ``section.key`` to value. None, a flag that was not given, changes nothing.
        where: Where the changes come from, for error messages.

    Raises:
        KaleidoError: If a name is unknown, or a value has the wrong type or is out of range.
    """
    for name, value in changes.items():
        if value is None:
            continue
        item = find_setting(name, where)
        checked = _check(f"setting {name!r} in {where}", value, item.type, item.declared)
        section = replace(getattr(settings, item.section), **{item.key: checked})
        settings = replace(settings, **{item.section: section})
    return settings


def find_setting(name: str, where: str = COMMAND_LINE) -> Setting:
    """Return the declaration of ``section.key``.

    Raises:
        KaleidoError: If there is no such section or key; the nearest name is offered.
    """
    section, _, key = name.partition(".")
    _require_section(section, where)
    if name not in SETTINGS:
        known = [item.key for item in SETTINGS.values() if item.section == section]
        raise _wrong(
            f"setting {name!r} in {where}", "there is no such setting.", nearest(key, known)
        )
    return SETTINGS[name]


def parse(item: Setting, text: str) -> Any:
    """Read the value of a setting from the command line.

    Numbers and texts stand as they are, lists separate their items by commas: ``boxes,palette``.

    Raises:
        KaleidoError: If a number cannot be read as one.
    """
    kind = get_args(item.type)[0] if get_origin(item.type) is tuple else item.type
    is_list = kind is not item.type
    try:
        if is_list:
            # `--sweep cfg=1,3` names its key, as the help of other tools' sweeps does.
            parts = text.removeprefix(f"{item.key}=").split(",") if text.strip() else []
            return tuple(kind(part.strip()) for part in parts)
        return kind(text)
    except ValueError as error:
        what = f"setting {item.name!r} in {COMMAND_LINE}"
        name = "a list of numbers such as 1,2" if is_list else _TYPE_NAMES[kind]
        raise _wrong(what, f"{text!r} is not {name}.") from error


def _require_section(name: str, where: str) -> None:
    if name not in SECTIONS:
        raise _wrong(
            f"section [{name}] in {where}", "there is no such section.", nearest(name, SECTIONS)
        )


def _check(what: str, value: Any, hint: Any, declared: Declared) -> Any:
    """Return `value` as the type `hint`, or raise KaleidoError."""
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise _wrong(what, f"{value!r} is not a list of {item.__name__}.")
        if not value and item is not str:
            raise _wrong(what, "the list is empty.")
        return tuple(_check(what, entry, item, declared) for entry in value)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise _wrong(what, f"{value!r} is not {_TYPE_NAMES[hint]}.")
    if declared.choices and value not in declared.choices:
        raise _wrong(what, f"{value!r} is not one of its values.", nearest(value, declared.choices))
    if hint is not str and not (math.isfinite(value) and value in declared.within):
        allowed = f"Give {_TYPE_NAMES[hint]} {declared.within}."
        raise _wrong(what, f"{value} is out of range.", allowed)
    return value


def _wrong(what: str, why: str, hint: str = "") -> KaleidoError:
    return KaleidoError(what, why, hint, code="bad-setting")


def describe(item: Setting) -> str:
    """Return the help of a setting with the values that it allows."""
    declared = item.declared
    if declared.choices:
        return f"{declared.help} One of {', '.join(declared.choices)}."
    bounded = math.isfinite(declared.within.low) and declared.within != POSITIVE
    number = item.type not in (str, tuple[str, ...])
    return f"{declared.help} Allowed: {declared.within}." if bounded and number else declared.help


def write_toml(settings: Settings) -> str:
    """Write every setting, under a comment with its help and the values that it allows."""
    intro = (
        "Settings of this Kaleido workspace. On the command line, --set section.key=value or the "
        "flag of the same name overrides a setting."
    )
    blocks = [_comment(intro)]
    for section, help in SECTIONS.items():
        lines = [_comment(help), f"[{section}]"]
        for item in SETTINGS.values():
            if item.section == section:
                value = getattr(getattr(settings, section), item.key)
                lines += [_comment(describe(item)), f"{item.key} = {format_value(value)}"]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(text, _WIDTH))


def format_value(value: Any) -> str:
    """Write a number, a text, or a tuple of them as TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(format_value(item) for item in value)}]"
    if not isinstance(value, str):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)  # JSON's escapes are also TOML's
