import ast
import io
import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pipelines
from pipelines.core.files import temporary_path
from pipelines.core.progress import SILENT
from pipelines.evaluate import cache as cells
from pipelines.evaluate.cache import CellStore, bundle_hash, code_hash, decode_cell, encode_cell
from pipelines.evaluate.observe import Cell
from pipelines.sample.bundle import load_bundle
from pipelines.scenes.judge import Found, Verdict
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told

COMMON = {"captions": ["a star", "two circles"], "n": 3}


@pytest.fixture
def cell() -> Cell:
    rng = np.random.default_rng(0)
    found = Found("star", "teal", "plain", (1, 2, 30, 40), 0.1 + 0.2)
    fitted = replace(found, ellipse=(15.5, 21.0, 20.1, 14.0, 0.1 + 0.2))
    return Cell(
        rng.normal(size=(2, 3, 5)).astype(np.float32),
        [[Verdict((found,), "fog"), Verdict((), "slate"), Verdict((found, fitted), "fog")]] * 2,
        [["<boxes> star <1>", "", "é\n"]] * 2,
        rng.random((2, 3)),
        np.where(rng.random((2, 3, 6)) < 0.5, np.nan, 0.25),
        rng.integers(-1, 40_000, (2, 3, 2, 9), np.int32),
        rng.integers(0, 256, (2, 3, 4, 4, 3), np.uint8),
    )


def equal(a: Cell, b: Cell) -> bool:
    arrays = ("features", "edges", "colours", "ids", "shown")
    for name in arrays:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    return (a.verdicts, a.z) == (b.verdicts, b.z)


def never() -> Cell:
    raise AssertionError("it was there already")


def test_a_cell_is_read_as_it_was_written(cell):
    assert equal(decode_cell(encode_cell(cell)), cell)


def test_a_pickle_is_not_a_cell(cell):
    buffer = io.BytesIO()
    np.savez(buffer, features=np.array([{"a": 1}], dtype=object), json=np.zeros(1, np.uint8))
    whole = encode_cell(cell)
    no_verdicts = io.BytesIO()
    np.savez(no_verdicts, json=np.frombuffer(json.dumps({"z": []}).encode(), np.uint8))
    for data in (buffer.getvalue(), whole[: len(whole) // 2], b"", b"text", no_verdicts.getvalue()):
        with pytest.raises(ValueError, match="not a cell"):
            decode_cell(data)


def test_a_cell_is_made_once_and_again_when_anything_changed(cell, tmp_path, monkeypatch):
    store = CellStore(tmp_path, COMMON, SILENT)
    assert not store.get("x", {"seed": 0}, lambda: cell)[1]
    again = CellStore(tmp_path, COMMON, SILENT)
    kept, there = again.get("x", {"seed": 0}, never)
    assert there and equal(kept, cell) and (again.made, again.reused) == (0, 1)
    assert not again.get("x", {"seed": 1}, lambda: cell)[1]
    other = CellStore(tmp_path, COMMON | {"n": 4}, SILENT)
    assert not other.get("x", {"seed": 0}, lambda: cell)[1]
    monkeypatch.setattr("pipelines.evaluate.cache.code_hash", lambda: "changed")
    changed = CellStore(tmp_path, COMMON, SILENT)
    assert not changed.get("x", {"seed": 0}, lambda: cell)[1]
    assert len(list(tmp_path.iterdir())) == 4
    changed.prune()
    assert len(list(tmp_path.iterdir())) == 1


def cut(data):
    return data[:100]


def blank(data):
    """Overwrite the middle of what is compressed."""
    half = len(data) // 2
    return data[: half - 100] + bytes(200) + data[half + 100 :]


@pytest.mark.parametrize("damage", [cut, blank])
def test_a_damaged_cell_is_named_and_made_again(cell, tmp_path, damage):
    told = Told()
    CellStore(tmp_path, COMMON, told).get("x", {}, lambda: cell)
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    temporary_path(tmp_path / "y.npz").write_bytes(b"of a killed run")
    assert not CellStore(tmp_path, COMMON, told).get("x", {}, lambda: cell)[1]
    assert told.said[0].startswith(f"{path} is damaged") and "made again" in told.said[0]
    assert list(tmp_path.iterdir()) == [path] and equal(decode_cell(path.read_bytes()), cell)


DECIDES_NOTHING = {
    *(f"core/{name}.py" for name in ("errors", "files", "fingerprint", "manifest", "plugins")),
    *(f"core/{name}.py" for name in ("processes", "progress", "record", "settings", "shards")),
    *(f"core/{name}.py" for name in ("sheet", "source", "stage", "workspace")),
    *("data/writer.py", "embedded/paths.py", "extract/backends/base.py"),
    *("evaluate/measure.py", "evaluate/yardstick.py"),
    *(f"evaluate/metrics/{name}.py" for name in ("diversity", "feature_set", "manifolds")),
    *(f"evaluate/metrics/{name}.py" for name in ("statistics", "z_texts")),
}
"""What the code of cells imports that changes nothing that is in one."""


def test_what_the_code_of_cells_imports_is_part_of_the_fingerprint_too():
    root = Path(pipelines.__file__).parent
    code = {
        file
        for entry in cells._CODE
        for file in ([root / entry] if entry.endswith(".py") else (root / entry).rglob("*.py"))
    }
    imported = {
        root.parent / f"{node.module.replace('.', '/')}.py"
        for file in code
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipelines.")
    }
    beyond = {file.relative_to(root).as_posix() for file in imported - code if file.is_file()}
    assert beyond == DECIDES_NOTHING


def test_the_code_that_draws_is_part_of_the_fingerprint(tmp_path, monkeypatch):
    first = code_hash()
    assert first == code_hash() and len(first) == 64
    monkeypatch.setattr("pipelines.evaluate.cache._CODE", ("evaluate/judge.py",))
    assert code_hash() != first


def test_other_weights_or_another_config_are_another_bundle(trained):
    bundle = load_bundle(trained)
    first = bundle_hash(bundle)
    assert first == bundle_hash(load_bundle(trained)) != bundle_hash(load_bundle(trained, True))
    moved = trained.root.rename(trained.root.with_name("moved"))
    assert bundle_hash(load_bundle(Workspace(moved, trained.settings))) == first
    with torch.no_grad():
        next(bundle.diffusion.denoiser.parameters()).view(-1)[0] += 1e-3
    assert bundle_hash(bundle) != first
    config = moved / "models/diffusion/denoiser/config.json"
    config.write_text(config.read_text().replace('"sample_size": 16', '"sample_size": 32'))
    assert bundle_hash(load_bundle(Workspace(moved, trained.settings))) != first
    prior = copy(bundle.prior)
    prior.identity = "another"
    assert (
        bundle_hash(replace(load_bundle(Workspace(moved, trained.settings)), prior=prior)) != first
    )
