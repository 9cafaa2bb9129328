"""What a workspace holds, as JSON values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.workspace.manifest import OUTCOMES, Manifest, read_manifest, read_rows
from pipelines.workspace.workspace import Workspace


def status(workspace: Workspace) -> dict[str, Any]:
    """Describe a workspace.

    Returns:
        ``workspace`` (its path); ``data`` and ``latents`` (one entry a kind), each with ``shards``,
        ``ok``, ``filtered``, ``failed`` (rows), ``failures`` (a list of ``key``, ``shard``,
        ``reason``), ``unfinished`` (shards without a manifest) and ``stale`` (shards made from data
        that has changed since); ``models``, ``samples``, ``reports`` (names); ``training``, the
        runs that were stopped: name -> ``step`` and ``steps``.
    """
    manifests = {path.stem: read_manifest(path) for path in workspace.data_shards()}
    sources = {shard: manifest.sha256 for shard, manifest in manifests.items() if manifest}
    return {
        "workspace": str(workspace.root),
        "data": _shards(workspace.data, None),
        "latents": {
            folder.name: _shards(folder, sources) for folder in _folders(workspace, "latents")
        },
        "models": [
            folder.name
            for folder in _folders(workspace, "models")
            if any(folder.rglob("*.safetensors"))
        ],
        "samples": [folder.name for folder in _folders(workspace, "samples")],
        "reports": [folder.name for folder in _folders(workspace, "reports")],
        "training": _stopped_runs(workspace),
    }


def _stopped_runs(workspace: Workspace) -> dict[str, dict[str, int]]:
    """Training whose checkpoint has not reached the steps that it was asked for."""
    found = {}
    for path in sorted(workspace.logs.glob("*/checkpoint/state.json")):
        state = json.loads(path.read_text("utf-8"))
        if state["step"] < state.get("steps", 0):
            found[path.parts[-3]] = {"step": state["step"], "steps": state["steps"]}
    return found


def _folders(workspace: Workspace, name: str) -> list[Path]:
    parent = workspace.root / name
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _shards(folder: Path, sources: dict[str, str] | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "shards": 0,
        **dict.fromkeys(OUTCOMES, 0),
        "failures": [],
        "unfinished": [],
        "stale": [],
    }
    for path in sorted(folder.glob("*.tar")):
        manifest = read_manifest(path)
        if manifest is None:
            entry["unfinished"].append(path.stem)
            continue
        if sources is not None and manifest.inputs.get("data") != sources.get(path.stem):
            entry["stale"].append(path.stem)
        _add_rows(entry, path, manifest)
    return entry


def _add_rows(entry: dict[str, Any], path: Path, manifest: Manifest) -> None:
    entry["shards"] += 1
    for outcome in OUTCOMES:
        entry[outcome] += manifest.counts[outcome]
    if manifest.counts["failed"]:
        entry["failures"] += [
            {"key": row.key, "shard": path.stem, "reason": row.reason}
            for row in read_rows(path)
            if row.outcome == "failed"
        ]
