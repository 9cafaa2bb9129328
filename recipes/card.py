"""Model cards: what a shipped model is, what it learned from, and what it may be used for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.files import atomic_write, sha256_file


def write_card(
    folder: Path,
    title: str,
    purpose: str,
    licence: str,
    recipe: str,
    facts: Mapping[str, Any],
    limits: str,
) -> None:
    """Write ``README.md`` into a shipped model's folder.

    Args:
        folder: Holds the model's safetensors files.
        title: The model's name.
        purpose: What it does, in a sentence or two.
        licence: SPDX expression of the weights.
        recipe: The command that makes it.
        facts: Data, steps and measured numbers, by name.
        limits: What it cannot do.
    """
    weights = "\n".join(
        f"| `{path.relative_to(folder)}` | {path.stat().st_size:,} | `{sha256_file(path)}` |"
        for path in sorted(folder.rglob("*.safetensors"))
    )
    rows = "\n".join(f"| {name} | {_plain(value)} |" for name, value in facts.items())
    text = f"""---
license: {licence.lower()}
library_name: kaleido-diffusion
---

# {title}

{purpose}

| fact | value |
|---|---|
{rows}

Made by `{recipe}`, from data that the recipe draws itself.

| weights | bytes | SHA-256 |
|---|---|---|
{weights}

## Limits

{limits}

## Licence

SPDX-License-Identifier: {licence}
"""
    atomic_write(folder / "README.md", text.encode())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
