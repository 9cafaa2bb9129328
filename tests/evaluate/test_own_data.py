import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.progress import SILENT
from pipelines.data.folder import write_folder
from pipelines.evaluate.adherence.truth import WITHOUT
from pipelines.evaluate.metrics.memorization import digest
from pipelines.evaluate.metrics.plain_features import SPACES
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.own_data import DataProtocol
from pipelines.workspace import reader
from pipelines.workspace.config import override
from pipelines.workspace.manifest import read_manifest, read_rows, write_manifest
from pipelines.workspace.shards import read_records, record_row, write_shard
from tests.evaluate.test_run import content, evaluate, small

SIZE = {"data.image_size": 16}


def write(workspace, captions, count, seed=0):
    """Write `count` pictures of noise, captioned in turn."""
    folder = workspace.root.with_name("pictures")
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(count):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04}.png")
        (folder / f"{index:04}.txt").write_text(captions[index % len(captions)])
    write_folder(replace(workspace, settings=override(workspace.settings, SIZE)), folder)


def protocol(workspace, network, wanted=8, n=2):
    return DataProtocol(PretrainedFeatures(str(network)), workspace, wanted, n, WITHOUT, SILENT)


@pytest.fixture
def own(trained):
    """A workspace with models and 120 pictures, each of its own caption."""
    write(trained, [f"a star, number {index}" for index in range(120)], 120)
    return trained


@pytest.mark.parametrize("network", ["dinov2", "clip"])
def test_models_are_measured_on_any_data(own, network, request):
    folder = request.getfixturevalue(network)
    summary = evaluate(small(own, captions=6, n=3, features=str(folder)), name="own")
    found = content(summary)
    name = PretrainedFeatures(str(folder)).name
    assert found["features"] == name and found["ceiling"] == {}
    assert f"--features {folder}" in found["command"]
    rows = {(row["model"], row["cfg"], row["metric"]): row for row in found["rows"]}
    metrics = {"frechet", "mmd", "precision", "recall", "density", "coverage.real", "edges"}
    metrics |= {"vendi", "vendi.infinity", "mss", "copies"}
    metrics |= {"cmmd", "clip"} if network == "clip" else set()
    for model, scale in (("baseline", 1.0), ("kaleido", 7.5)):
        mine = {key[2] for key in rows if key[:2] == (model, scale)}
        wanted = metrics | ({"explained"} if model == "kaleido" else set())
        assert {m for m in mine if not m.startswith("z.")} == {
            *(f"{m}[{name}]" for m in wanted),
            *(f"{m}[{space}]" for m in ("vendi", "mss") for space in SPACES.values()),
        }
    row = rows["kaleido", 7.5, f"vendi[{name}]"]
    assert row["value"] == pytest.approx(1.0, abs=0.1)  # untrained, they draw all alike
    assert row["low"] <= row["value"] + 1e-9 and row["value"] <= row["high"] + 1e-9
    # Of fewer real pictures than drawn ones, what depends on numbers is not told.
    assert not {("data", None, f"{metric}[{name}]") for metric in ("frechet", "vendi")} & set(rows)
    real = rows["data", None, f"mmd[{name}]"]
    assert real["n"] == 6 * real["n_per_caption"] and real["seeds"] == [0]
    # One picture a caption has no spread of its own.
    assert ("data", None, f"vendi[{name}]") not in rows
    page = summary.report.read_text("utf-8")
    assert "1 held-out picture of each caption" in page and "The judge" not in page
    assert "valid only" not in page
    again = evaluate(small(own, captions=6, n=3, features=str(folder)), name="own")
    assert again.reused == again.cells == 15
    assert json.dumps(again.rows) == json.dumps(summary.rows)  # NaN is no NaN's equal


def test_captions_with_many_pictures_are_compared_with_as_many(trained, dinov2):
    write(trained, ["a star", "a heart", "two circles"], 150)
    stick = protocol(trained, dinov2, n=3)
    assert sorted(stick.captions) == ["a heart", "a star", "two circles"]
    assert "3 held-out pictures of each caption" in stick.notes.reference
    reals = stick.real(3, (16, 16))
    held = {
        record.caption: [r for r in records(trained) if r.caption == record.caption]
        for record in records(trained)
    }
    seen = reals["reference"](stick.captions, 5)
    for caption, (z, images) in zip(stick.captions, seen, strict=True):
        assert z == [""] * 3
        np.testing.assert_array_equal(images, [record.pixels for record in held[caption][:3]])


def records(workspace):
    return [
        record
        for path in workspace.data_shards()
        for record in read_records(path)
        if record.meta["split"] == "heldout"
    ]


def test_the_data_are_read_once(own, dinov2, monkeypatch):
    read = []

    def noted(path):
        read.append(path)
        return read_records(path)

    monkeypatch.setattr(reader, "read_records", noted)
    protocol(own, dinov2)
    assert read == own.data_shards()


def test_pictures_are_reduced_to_the_models_size(own, dinov2):
    stick = protocol(own, dinov2)
    _, images = next(stick.real(2, (8, 8))["reference"](stick.captions, 0))
    assert images.shape == (1, 8, 8, 3)


def test_too_few_pictures_for_the_features_are_warned_of(own, dinov2):
    warnings = protocol(own, dinov2, wanted=4).notes.warnings
    assert [text[:20] for text in warnings] == ["The Fréchet distance"]


def test_training_pictures_among_the_real_ones_are_warned_of(trained, dinov2):
    write(trained, [f"number {index}" for index in range(120)], 120)
    taken = records(trained)[0]
    (shard,) = trained.data_shards()
    original = list(read_records(shard))
    copied = [
        replace(record, image=taken.image) if record.meta["split"] == "train" else record
        for record in original
    ]
    copies = sum(record.meta["split"] == "train" for record in original)
    manifest, rows = read_manifest(shard), read_rows(shard)
    write_shard(shard, map(record_row, copied))
    write_manifest(shard, manifest, rows)
    warnings = protocol(trained, dinov2, wanted=4).notes.warnings
    assert any(text.startswith(f"{copies} of the training pictures") for text in warnings)


def test_without_a_second_real_set_it_is_said(own, dinov2):
    stick = protocol(own, dinov2, wanted=len(records(own)))
    assert list(stick.real(2, (16, 16))) == ["reference"]
    assert any("second real set" in text for text in stick.notes.warnings)
    summary = evaluate(small(own, captions=40, features=str(dinov2), seeds=(0,)))
    real = {row["metric"].partition("[")[0] for row in summary.rows if row["model"] == "data"}
    assert real == set()
    assert "second real set" in summary.report.read_text("utf-8")


def test_data_without_held_out_records_are_refused(trained, dinov2):
    with pytest.raises(InputMissing) as caught:
        protocol(trained, dinov2)
    assert caught.value.what == "captions"


def test_fewer_pictures_than_neighbours_are_refused(own, dinov2):
    with pytest.raises(KaleidoError) as caught:
        protocol(own, dinov2, wanted=3)
    assert caught.value.what == "the held-out pictures"


def test_the_embedded_models_are_measured_by_the_judge_only(
    workspace, dinov2, tiny_models, monkeypatch
):
    monkeypatch.setattr("pipelines.embedded.paths.ROOT", tiny_models)
    with pytest.raises(KaleidoError) as caught:
        evaluate(small(workspace, features=str(dinov2)), embedded=True)
    assert caught.value.code == "not-comparable"


def test_report_json_is_valid_json_of_finite_numbers(own, dinov2):
    summary = evaluate(small(own, captions=6, features=str(dinov2), seeds=(0,)))
    json.loads(summary.json.read_text("utf-8"), parse_constant=lambda text: pytest.fail(text))


def test_an_image_with_several_captions_counts_once(trained, dinov2):
    folder = trained.root.with_name("pictures")
    folder.mkdir()
    rng, lines = np.random.default_rng(0), []
    for index in range(120):
        pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04}.png")
        rows = [{"file": f"{index:04}.png", "caption": f"{index}, {i}"} for i in range(5)]
        lines += map(json.dumps, rows)
    (folder / "captions.jsonl").write_text("\n".join(lines))
    write_folder(replace(trained, settings=override(trained.settings, SIZE)), folder)
    heldout = {digest(record) for record in records(trained) if record.heldout}
    stick = protocol(trained, dinov2, wanted=5)
    pictures = [
        image.tobytes()
        for source in stick.real(2, (16, 16)).values()
        for _, images in source(stick.captions, 0)
        for image in images
    ]
    assert len(set(pictures)) == len(pictures) <= len(heldout)


def test_few_real_pictures_do_not_tell_parity(own, dinov2):
    stick = protocol(own, dinov2, wanted=4)
    assert "real pictures in 32 dimensions" in stick.notes.parity_unknown
