"""The contents of a workspace as JSON values, whatever state its files are in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.files import METADATA, TEMPORARY
from pipelines.core.unfinished import is_abandoned, is_unfinished
from pipelines.workspace.manifest import OUTCOMES, Manifest, read_manifest, read_rows
from pipelines.workspace.next_step import next_step
from pipelines.workspace.workspace import SHARD_NAME, Workspace


def status(workspace: Workspace) -> dict[str, Any]:
    """Describe a workspace. Damaged or unreadable files are reported, not raised.

    Returns:
        * ``workspace``: its path.
        * ``data``, and ``latents`` by kind: ``stage`` (the stage that made the shards, or None),
          ``shards``, ``ok``, ``filtered`` and ``failed`` (rows), ``failures`` (``key``, ``shard``,
          ``reason``), ``unfinished`` (shards without a manifest) and ``stale`` (shards made from
          data that have changed since).
        * ``models``, ``samples``, ``reports``: names.
        * ``drawing``: folders of samples that are not finished, name to ``running`` or ``killed``.
        * ``misfits``: models that were trained for another prior than the present one.
        * ``training``: stopped runs, name to ``step`` and ``steps``.
        * ``problems``: files that cannot be read, ``path`` and ``reason``.
        * ``next`` and ``hint``: the command to run next, and a sentence about it.
    """
    return _Survey(workspace).describe()


class _Survey:
    """Reads a workspace and collects the problems it meets."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._root = workspace, workspace.root
        self._problems: list[dict[str, str]] = []
        self._sources: dict[str, str] = {}

    def describe(self) -> dict[str, Any]:
        models = {path.name: path for path in self._folders("models") if self._is_model(path)}
        metadata = {name: self._metadata(path) for name, path in models.items()}
        samples = self._folders("samples")
        drawing = [path for path in samples if is_unfinished(path)]
        found: dict[str, Any] = {
            "workspace": str(self._root),
            "data": self._shards(self._workspace.data, is_data=True),
            "latents": {
                folder.name: self._shards(folder, is_data=False)
                for folder in self._folders("latents")
            },
            "models": list(models),
            "misfits": _misfits(metadata),
            "samples": [path.name for path in samples if path not in drawing],
            "drawing": {
                path.name: "killed" if is_abandoned(path) else "running" for path in drawing
            },
            "reports": [folder.name for folder in self._folders("reports")],
            "training": self._stopped_runs(),
            "problems": self._problems,
        }
        step = next_step(found)
        return {**found, "next": step.command, "hint": step.hint}

    def _report(self, path: Path, error: Exception) -> None:
        reason = error.why if isinstance(error, KaleidoError) else str(error)
        self._problems.append({"path": str(path), "reason": reason})

    def _inside(self, folder: Path) -> list[Path]:
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self._report(folder, error)
            return []

    def _folders(self, name: str) -> list[Path]:
        inside = self._inside(self._root / name)
        return [p for p in inside if _is_folder(p) and not TEMPORARY.fullmatch(p.name)]

    def _is_model(self, folder: Path) -> bool:
        return (folder / METADATA).is_file() or self._has_weights(folder)

    def _has_weights(self, folder: Path) -> bool:
        return any(
            path.suffix == ".safetensors" or (_is_folder(path) and self._has_weights(path))
            for path in self._inside(folder)
            if not path.is_symlink()
        )

    def _read_json(self, path: Path) -> dict[str, Any]:
        """Read a JSON object; a file that is none is reported and gives an empty one."""
        try:
            values = json.loads(path.read_text("utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it is not a JSON object")
            return values
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._report(path, error)
            return {}

    def _metadata(self, folder: Path) -> dict[str, Any]:
        return self._read_json(folder / METADATA)

    def _stopped_runs(self) -> dict[str, dict[str, int]]:
        """Find training runs whose checkpoint has not reached the requested number of steps."""
        found = {}
        for folder in self._folders("logs"):
            state = self._read_json(folder / "checkpoint" / "state.json")
            step, steps = state.get("step"), state.get("steps")
            if type(step) is int and type(steps) is int and step < steps:
                found[folder.name] = {"step": step, "steps": steps}
        return found

    def _shards(self, folder: Path, is_data: bool) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "stage": None,
            "shards": 0,
            **dict.fromkeys(OUTCOMES, 0),
            "failures": [],
            "unfinished": [],
            "stale": [],
        }
        for path in self._inside(folder):
            if not SHARD_NAME.fullmatch(path.name):
                continue
            try:
                manifest = read_manifest(path)
            except KaleidoError as error:
                self._report(path.with_suffix(".json"), error)
                continue
            if manifest is None:
                entry["unfinished"].append(path.stem)
                continue
            if is_data:
                self._sources[path.stem] = manifest.sha256
            elif manifest.inputs.get("data") != self._sources.get(path.stem):
                entry["stale"].append(path.stem)
            self._add_rows(entry, path, manifest)
        return entry

    def _add_rows(self, entry: dict[str, Any], path: Path, manifest: Manifest) -> None:
        entry["stage"] = manifest.stage
        entry["shards"] += 1
        for outcome in OUTCOMES:
            entry[outcome] += manifest.counts[outcome]
        if not manifest.counts["failed"]:
            return
        try:
            entry["failures"] += [
                {"key": row.key, "shard": path.stem, "reason": row.reason}
                for row in read_rows(path)
                if row.outcome == "failed"
            ]
        except KaleidoError as error:
            self._report(path.with_suffix(".parquet"), error)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _misfits(metadata: dict[str, dict[str, Any]]) -> list[str]:
    """Return the models that name another prior than the workspace's."""
    priors = {metadata.get(name, {}).get("identity") for name in ("prior", "reader")} - {None}
    return [
        name
        for name, values in metadata.items()
        if priors and "prior" in values and values["prior"] not in priors
    ]
