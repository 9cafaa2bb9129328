import io
import json
from copy import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.files import temporary_path
from pipelines.core.progress import SILENT
from pipelines.evaluate import cache
from pipelines.evaluate.cache import CellStore, decode_cell, encode_cell
from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.evaluate.observe import Cell
from pipelines.sample.bundle import bundle_hash, load_bundle
from pipelines.workspace.workspace import Workspace
from tests.conftest import Told
from tests.evaluate import golden_cell

COMMON = {"captions": ["a star", "two circles"], "n": 3}


@pytest.fixture
def cell() -> Cell:
    rng = np.random.default_rng(0)
    found = FoundObject("star", (1, 2, 30, 40), 0.1 + 0.2, {"colour": "teal", "texture": "plain"})
    fitted = replace(found, ellipse=(15.5, 21.0, 20.1, 14.0, 0.1 + 0.2))
    return Cell(
        rng.normal(size=(2, 3, 5)).astype(np.float32),
        [[Verdict((found,), "fog"), Verdict((), "slate"), Verdict((found, fitted), "fog")]] * 2,
        [["<boxes> star <1>", "", "é\n"]] * 2,
        rng.random((2, 3)),
        np.where(rng.random((2, 3, 6)) < 0.5, np.nan, 0.25),
        rng.integers(-1, 40_000, (2, 3, 2, 9), np.int32),
        rng.integers(0, 256, (2, 3, 4, 4, 3), np.uint8),
        rng.random((2, 3, 7), np.float32),
        rng.random((2, 3, 3)),
    )


def equal(a: Cell, b: Cell) -> bool:
    arrays = ("features", "edges", "colours", "ids", "plain", "shown", "tints")
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
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
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
    assert told.said[0].startswith(f"{path} is damaged") and "computed again" in told.said[0]
    assert list(tmp_path.iterdir()) == [path] and equal(decode_cell(path.read_bytes()), cell)


def test_what_a_cell_holds_is_that_of_this_version():
    """The cache is keyed by a version: what is drawn and seen may change only together with it."""
    recorded = json.loads(golden_cell.FILE.read_text("utf-8"))
    found = golden_cell.summary()
    remedy = (
        "{} of an evaluation's cell changed: raise VERSION in pipelines/evaluate/cache.py (now "
        f"{cache.VERSION}), then run `python -m tests.evaluate.golden_cell`."
    )
    assert recorded.pop("version") == cache.VERSION, remedy.format("the version")
    assert set(found) == set(recorded)
    for name, values in found.items():
        same = values == recorded[name]
        if isinstance(values, list) and isinstance(values[0], float):
            same = np.allclose(values, recorded[name], rtol=1e-2, atol=golden_cell.TOLERANCE[name])
        assert same, remedy.format(name)


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
