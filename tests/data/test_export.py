import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import InputMissing, KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.record import Record
from pipelines.data.annotate import annotate
from pipelines.data.export import export
from pipelines.documents.convert import read_files
from pipelines.documents.projection import z_of
from pipelines.extract.run import extract
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.sequence import z_to_text
from pipelines.latents.tokens import Tokens
from pipelines.workspace.manifest import Manifest, RowOutcome, read_manifest, write_manifest
from pipelines.workspace.reader import read_joined
from pipelines.workspace.shards import write_shard
from tests.conftest import Told

WIDE, COUNT = (30, 16), 10


@pytest.fixture
def latents(workspace, records, write_data):
    """Write ten records, the first one wide, in shards of four; boxes, tokens and palettes.

    The last record has a palette alone.
    """
    wide = encode_png(np.full((WIDE[1], WIDE[0], 3), 90, np.uint8))
    write_data([replace(records[0], image=wide), *records[1:]], 4)
    extract(workspace, ["palette"])
    for shard in workspace.data_shards():
        found = list(read_joined(workspace, shard))
        store(workspace, shard, "boxes", [boxes_of(r) for r in found if r is not found[-1]])
        store(workspace, shard, "tokens", [(r.key, Tokens(1, 2, 512, (1, 2))) for r in found])
    return workspace


def boxes_of(record: Record):
    number = int(record.key[1:])
    return record.key, Boxes((Box("dot", 10 * number, 0, 10 * number + 100, 333),))


def store(workspace, shard, kind, rows):
    """Write latents as a stage of extraction does."""
    path = workspace.latents(kind) / shard.name
    info = write_shard(path, ((key, {f"{kind}.json": z.to_bytes()}) for key, z in rows))
    outcomes = [RowOutcome(key, "ok") for key, _ in rows]
    data = read_manifest(shard).sha256
    counts = {"ok": len(rows), "filtered": 0, "failed": 0}
    options = {"tokenizer": "ab" * 32} if kind == "tokens" else {}
    manifest = Manifest(kind, 1, "f", counts, info.sha256, {"data": data}, options)
    write_manifest(path, manifest, outcomes)


def joined(workspace, kinds):
    return {
        record.key: record
        for shard in workspace.data_shards()
        for record in read_joined(workspace, shard, kinds)
    }


def documents_in(folder, dialect):
    return {
        document.key: document
        for documents, report in read_files([folder], dialect)
        for document in documents
        if report.valid
    }


def test_documents_hold_the_latents_of_every_record(latents, tmp_path):
    summary = export(latents, "kaleido.z", tmp_path / "out")
    assert summary.kinds == ("boxes", "tokens", "palette")
    assert (summary.files, summary.documents, summary.without) == (1, COUNT, 0)
    found = documents_in(tmp_path / "out", "kaleido.z")
    records = joined(latents, summary.kinds)
    assert list(found) == list(records)
    for key, document in found.items():
        record = records[key]
        z, lost = z_of(document, summary.kinds)
        assert z_to_text(z) == z_to_text(record.latents) and not lost
        assert document.caption == record.caption
        size = Image.open(BytesIO(record.image)).size
        assert (document.image.width, document.image.height) == size
        assert document.tokens.tokenizer == "ab" * 32
    assert (found["r000"].image.width, found["r000"].image.height) == WIDE


@pytest.mark.parametrize("dialect", ["ideogram4", "bbox", "voc", "coco", "yolo"])
def test_boxes_come_back_from_the_format_of_another_tool(latents, tmp_path, dialect):
    summary = export(latents, dialect, tmp_path / "out", ["boxes"], ["place"])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert summary.files == len(names) and (summary.documents, summary.without) == (7, 3)
    (tmp_path / "out" / "data.yaml").unlink(missing_ok=True)
    found = documents_in(tmp_path / "out", dialect)
    for key, record in joined(latents, ["boxes"]).items():
        if "boxes" not in record.latents:
            assert key not in found
            continue
        (element,) = found[key].elements
        (box,) = record.latents["boxes"].items
        edges = [box.x1 / 1000, box.y1 / 1000, box.x2 / 1000, box.y2 / 1000]
        assert element.box == pytest.approx(edges, abs=0.001)


def test_what_was_exported_can_be_attached_and_extracted_again(latents, tmp_path):
    before = joined(latents, ["boxes"])
    export(latents, "coco", tmp_path / "out", ["boxes"])
    annotate(latents, [tmp_path / "out"], "coco")
    settings = replace(latents.settings.extract, source="layouts")
    sourced = replace(latents, settings=replace(latents.settings, extract=settings))
    extract(sourced, ["boxes"])
    for key, record in joined(latents, ["boxes"]).items():
        assert record.latents.get("boxes") == before[key].latents.get("boxes")


def test_an_error_leaves_nothing_behind(latents, tmp_path):
    out = tmp_path / "out"
    before = sorted(tmp_path.iterdir())
    with pytest.raises(KaleidoError) as caught:
        export(latents, "ideogram4", out)
    assert "--allow-loss" in caught.value.hint
    with pytest.raises(InputMissing):
        export(latents, "kaleido.z", out, ["boxes", "blobs"])
    with pytest.raises(KaleidoError) as caught:
        export(latents, "gbc", out)
    assert caught.value.code == "bad-option"
    assert sorted(tmp_path.iterdir()) == before
    summary = export(latents, "ideogram4", out, ["boxes", "palette"], ["weights"])
    assert summary.lost == {"weights": COUNT} and summary.files == COUNT
    with pytest.raises(KaleidoError) as caught:
        export(latents, "ideogram4", out, ["boxes"])
    assert caught.value.code == "would-overwrite"


def test_a_caption_is_not_cut_in_silence(workspace, records, write_data, tmp_path):
    write_data([replace(records[0], caption="word " * 900)], 1)
    extract(workspace, ["palette"])
    with pytest.raises(KaleidoError):
        export(workspace, "kaleido.z", tmp_path / "out")
    assert export(workspace, "kaleido.z", tmp_path / "out", None, ["caption"]).lost["caption"] == 1


def test_a_workspace_without_latents_names_the_command(workspace, records, write_data, tmp_path):
    for _ in range(2):
        with pytest.raises(InputMissing):
            export(workspace, "coco", tmp_path / "out")
        write_data(records, 4)


def test_kinds_of_plug_ins_are_named(latents, tmp_path, site):
    text = """
from pipelines.latents.boxes import Boxes
class Depth(Boxes):
    kind = "depth"
"""
    site.install("depth-kind", {"kaleido.latents": {"depth": "depth_kind:Depth"}}, depth_kind=text)
    for shard in latents.data_shards():
        store(latents, shard, "depth", [])
    told = Told()
    assert "depth" not in export(latents, "kaleido.z", tmp_path / "out", progress=told).kinds
    assert "depth" in told.said[0]
    with pytest.raises(KaleidoError) as caught:
        export(latents, "kaleido.z", tmp_path / "other", ["depth"])
    assert caught.value.code == "bad-option"


def test_documents_are_json_lines_that_sample_reads(latents, tmp_path):
    export(latents, "kaleido.z", tmp_path / "out", ["boxes"])
    lines = (tmp_path / "out" / "documents.z.jsonl").read_text().splitlines()
    assert [json.loads(line)["origin"]["format"] for line in lines] == ["kaleido"] * 7
