"""Write the model cards of shipped models: purpose, training data, limits and licence."""

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
        folder: Folder of the model's safetensors files.
        title: The model's name.
        purpose: The model's purpose, in a sentence or two.
        licence: SPDX expression of the weights.
        recipe: The command that trains it.
        facts: Data, steps and measured numbers by name.
        limits: Known limits.
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

Trained by `{recipe}` on data that the recipe generates.

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
