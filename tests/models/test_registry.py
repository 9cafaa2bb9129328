"""Which folder a model comes from: the workspace's own, or a shipped one that fits the data."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipelines.embedded.paths import embedded_path
from pipelines.models.metadata import write_metadata
from pipelines.models.registry import (
    EMBEDDED,
    own_model,
    sampling_source,
    shipped_model,
    tokenizer_folder,
)
from pipelines.workspace.manifest import RowOutcome, read_manifest, write_manifest


@pytest.fixture
def data_of(workspace, records, write_data):
    """Return a function that writes data which claim to come from a stage."""

    def write(stage: str, **options) -> None:
        write_data(records, 5)
        for path in workspace.data_shards():
            rows = [RowOutcome(record.key, "ok") for record in records[:5]]
            manifest = replace(read_manifest(path), stage=stage, options=options)
            write_manifest(path, manifest, rows)

    return write


def _train(workspace, name: str) -> None:
    workspace.models(name).mkdir(parents=True)
    write_metadata(workspace.models(name), {"identity": "0f"})


def test_a_workspace_with_any_model_samples_with_its_own_alone(workspace) -> None:
    assert sampling_source(None) == sampling_source(workspace) == EMBEDDED
    _train(workspace, "tokenizer")
    assert sampling_source(workspace) == EMBEDDED  # no model of sampling
    _train(workspace, "baseline")
    source = sampling_source(workspace)
    assert source.name == "workspace"
    assert source.folder("prior") == workspace.models("prior")


def test_a_folder_without_metadata_is_no_model(workspace) -> None:
    workspace.models("prior").mkdir(parents=True)
    assert own_model(workspace, "prior") is None


def test_the_own_tokenizer_comes_before_the_shipped_one(workspace, data_of) -> None:
    data_of("scenes", size=64, hard=False)
    assert tokenizer_folder(workspace) == embedded_path("tokenizer")
    _train(workspace, "tokenizer")
    assert tokenizer_folder(workspace) == workspace.models("tokenizer")


@pytest.mark.parametrize(
    ("stage", "options", "fits"),
    [
        ("scenes", {"size": 64, "hard": False}, True),
        ("scenes", {"size": 64, "hard": True}, False),
        ("scenes", {"size": 32, "hard": False}, False),
        ("folder", {"size": 64}, False),
    ],
)
def test_shipped_models_serve_the_data_that_they_know(
    workspace, data_of, stage, options, fits
) -> None:
    assert shipped_model(workspace, "captioner") is None  # there are no data
    data_of(stage, **options)
    shipped = shipped_model(workspace, "captioner")
    assert shipped == (embedded_path("captioner") if fits else None)
    expected = embedded_path("tokenizer") if fits else workspace.models("tokenizer")
    assert tokenizer_folder(workspace) == expected
