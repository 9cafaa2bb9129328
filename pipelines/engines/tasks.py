"""What is left to do: passes over the data, and the shards of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipelines.core.errors import KaleidoError
from pipelines.core.fingerprint import fingerprint
from pipelines.core.stage import StageGroup, StageSpec
from pipelines.latents.registry import stored_class
from pipelines.workspace.digests import Digests
from pipelines.workspace.inputs import require_data
from pipelines.workspace.manifest import Manifest, read_manifest
from pipelines.workspace.parts import WHOLE, Part
from pipelines.workspace.reader import input_command, latent_manifest
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class ShardTask:
    """What a pass has left to do on one shard.

    Attributes:
        data_shard: The data shard.
        records: How many records it holds.
        inputs: SHA-256 of each input shard: ``data`` and the stages' input kinds; empty for one
            that is to be written first.
        pending: Kind -> fingerprint of everything that its result depends on, for the kinds that
            are to be computed; empty if all are up to date.
        retried: The pending kinds of which only the failed rows are computed.
    """

    data_shard: Path
    records: int
    inputs: dict[str, str]
    pending: dict[str, str]
    retried: frozenset[str]


def passes(stages: Sequence[StageGroup]) -> list[list[StageGroup]]:
    """Group neighbouring stages that can share one pass over the data.

    They read the same inputs, so none waits for another's output, in the same batches and with as
    many threads; so they can be called in turn on the same records.
    """

    def shape(stage: StageGroup) -> tuple[object, ...]:
        spec = stage.specs[0]
        return spec.inputs, spec.batch_size, spec.resources.get("threads", 1)

    return [list(group) for _, group in groupby(stages, key=shape)]


def specs_of(stages: Sequence[StageGroup]) -> list[StageSpec]:
    """Return the specs of stages, one for each kind."""
    return [spec for stage in stages for spec in stage.specs]


def plan_pass(
    workspace: Workspace,
    specs: Sequence[StageSpec],
    retry_failed: bool = False,
    due: Mapping[str, Collection[Path]] | None = None,
    part: Part = WHOLE,
    digests: Digests | None = None,
) -> list[ShardTask]:
    """Check the inputs of a pass and find what is not up to date, shard by shard.

    Args:
        workspace: Where the data and the latents lie.
        specs: Of the stages of one of `passes`.
        retry_failed: Count the failed rows of what is up to date as left to do.
        due: Kind -> data shards whose latents an earlier pass is still to write; latents made from
            them are left to do.
        part: The part of the data to look at.
        digests: Tells the SHA-256 of shards; None remembers nothing.

    Raises:
        InputMissing: If there is no data, or an input kind is not extracted; names the command.
        KaleidoError: If the bytes of an input shard are not those of its manifest.
    """
    shards = [shard for shard in require_data(workspace) if part.has(shard)]
    digests = digests or Digests(workspace)
    return [_task(workspace, specs, shard, retry_failed, due or {}, digests) for shard in shards]


def _task(
    workspace: Workspace,
    specs: Sequence[StageSpec],
    data_shard: Path,
    retry_failed: bool,
    due: Mapping[str, Collection[Path]],
    digests: Digests,
) -> ShardTask:
    data = read_manifest(data_shard)
    if data is None:
        raise KaleidoError(
            str(data_shard), "the shard is unfinished.", "Make the data again.", code="bad-data"
        )
    inputs = {"data": _verified(digests, data_shard, data, "Delete it and make the data again.")}
    for kind in specs[0].inputs:
        if data_shard in due.get(kind, ()):
            inputs[kind] = ""
            continue
        manifest = latent_manifest(workspace, data_shard, kind)
        path = workspace.latents(kind) / data_shard.name
        inputs[kind] = _verified(digests, path, manifest, f"Run `{input_command(kind)}`.")
    pending, retried = {}, set()
    for spec in specs:
        output = (spec.output, stored_class(spec.output).version)
        wanted = fingerprint(spec.name, spec.version, output, dict(spec.options), inputs)
        made = _current(digests, workspace.latents(spec.output) / data_shard.name, wanted)
        if made is not None and retry_failed and made.counts["failed"]:
            retried.add(spec.output)
        if made is None or spec.output in retried:
            pending[spec.output] = wanted
    return ShardTask(data_shard, data.counts["ok"], inputs, pending, frozenset(retried))


def _verified(digests: Digests, path: Path, manifest: Manifest, hint: str) -> str:
    if digests.of(path) != manifest.sha256:
        why = "its bytes are not those that its manifest names."
        raise KaleidoError(str(path), why, hint, code="bad-data")
    return manifest.sha256


def _current(digests: Digests, path: Path, wanted: str) -> Manifest | None:
    """Return the manifest of a shard that is whole and has the wanted fingerprint, else None."""
    manifest = read_manifest(path)
    if manifest is None or manifest.fingerprint != wanted:
        return None
    whole = path.with_suffix(".parquet").is_file() and digests.of(path) == manifest.sha256
    return manifest if whole else None
