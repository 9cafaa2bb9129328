"""Reading, checking and writing `kaleido.toml`; the settings themselves are in `settings.py`."""

from __future__ import annotations

import inspect
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pipelines.core.errors import KaleidoError, nearest
from pipelines.workspace.settings import CHOICES, POSITIVE, RANGES, Settings

SECTIONS: dict[str, type] = get_type_hints(Settings)
"""Section name to the dataclass that holds it."""


def load_settings(path: Path) -> Settings:
    """Read a `kaleido.toml`; what it leaves out keeps its default.

    Raises:
        KaleidoError: If the file cannot be read, names an unknown section or key, or a value has
            the wrong type or is out of range.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise KaleidoError(str(path), f"it cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KaleidoError(str(path), f"it is not valid TOML ({error}).", "Mend it.") from error
    changes: dict[str, Any] = {}
    for section, values in document.items():
        if not isinstance(values, dict):
            raise KaleidoError(
                f"{section!r} in {path}", "a setting stands outside a section.", "Put it under one."
            )
        if not values:
            _section(section, str(path))
        changes |= {f"{section}.{key}": value for key, value in values.items()}
    return override(Settings(), changes, where=str(path))


def override(
    settings: Settings, changes: Mapping[str, Any], where: str = "the command line"
) -> Settings:
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
        section, _, key = name.partition(".")
        hints = get_type_hints(_section(section, where))
        if key not in hints:
            raise KaleidoError(
                f"setting {name!r} in {where}", "there is no such setting.", nearest(key, hints)
            )
        checked = _check(f"setting {name!r} in {where}", key, value, hints[key])
        settings = replace(
            settings, **{section: replace(getattr(settings, section), **{key: checked})}
        )
    return settings


def _section(name: str, where: str) -> type:
    if name not in SECTIONS:
        raise KaleidoError(
            f"section [{name}] in {where}", "there is no such section.", nearest(name, SECTIONS)
        )
    return SECTIONS[name]


def _check(what: str, key: str, value: Any, hint: Any) -> Any:
    """Return `value` as the type `hint`, or raise KaleidoError."""
    if get_origin(hint) is tuple:
        item = get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise KaleidoError(what, f"{value!r} is not a list of {item.__name__}.")
        if not value and item is not str:
            raise KaleidoError(what, "the list is empty.")
        return tuple(_check(what, key, entry, item) for entry in value)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise KaleidoError(what, f"{value!r} is not {_TYPE_NAMES[hint]}.")
    if key in CHOICES and value not in CHOICES[key]:
        hint = nearest(value, CHOICES[key])
        raise KaleidoError(what, f"{value!r} is none of its values.", hint)
    if hint is not str:
        allowed = RANGES.get(key, POSITIVE)
        if not math.isfinite(value) or value not in allowed:
            hint = f"Give {_TYPE_NAMES[hint]} {allowed}."
            raise KaleidoError(what, f"{value} is out of range.", hint)
    return value


_TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text in quotes"}


def default_toml() -> str:
    """Write every setting with its default and its comment, both as in `settings.py`."""
    blocks = ["# Settings of this Kaleido workspace. A flag of the same name overrides a setting."]
    for section, cls in SECTIONS.items():
        summary = (cls.__doc__ or "").partition(": ")[2].rstrip(".")
        comments = dict(_COMMENT.findall(inspect.getsource(cls)))
        lines = [f"[{section}]  # {summary}"]
        for item in fields(cls):
            line = f"{item.name} = {_toml(item.default)}"
            if item.name in comments:
                line += f"  # {comments[item.name]}"
            lines.append(line)
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


_COMMENT = re.compile(r"^    (\w+): [^#\n]*# (.*)$", re.MULTILINE)


def _toml(value: Any) -> str:
    """Write a number, a text without quotes or backslashes, or a tuple of them."""
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
