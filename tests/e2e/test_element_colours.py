"""The colours of elements from scenes to the report: an opt-in kind of z, like any other."""

import json
import shutil

from pipelines.documents.projection import document_of
from pipelines.extract.context import StageContext
from pipelines.extract.stages import build_stages
from pipelines.latents.sequence import z_from_text
from pipelines.models.prior import Prior
from pipelines.scenes.generate import make_records
from pipelines.workspace.reader import read_joined
from tests.evaluate.test_own_pictures import SETTINGS

Z = "boxes,colours"


def test_from_scenes_to_an_edit_and_a_report(workspace, write_data, invoke, monkeypatch):
    (workspace.root / "kaleido.toml").write_text(SETTINGS)
    monkeypatch.chdir(workspace.root)
    invoke("data", "scenes", "--n", "24", "--seed", "3")
    invoke("extract", "boxes")
    invoke("extract", "colours")
    folders = [workspace.latents(kind) for kind in ("boxes", "colours")]
    apart = [(folder / "000000.tar").read_bytes() for folder in folders]
    for folder in folders:
        shutil.rmtree(folder)
    found = json.loads(invoke("extract", "boxes", "--colours", "--json").out)
    assert list(found) == ["boxes", "colours"] and found["colours"]["ok"] >= 20
    assert [(folder / "000000.tar").read_bytes() for folder in folders] == apart
    assert json.loads(invoke("extract", "colours", "--json").out)["colours"]["skipped"] == 1
    assert "colours: " in invoke("data", "show", "--n", "2").out
    (shard,) = workspace.data_shards()
    for record in read_joined(workspace, shard, ["boxes", "colours"]):
        boxes, colours = record.latents.get("boxes"), record.latents.get("colours")
        assert (boxes is None) == (colours is None)
        if boxes is not None:
            assert [b.label for b in boxes.items] == [c.label for c in colours.items]

    invoke("train", "prior", "--z", Z)
    invoke("train", "diffusion", "--z", Z)
    prior = Prior.load(workspace.models("prior"))
    assert prior.z_kinds == ("boxes", "colours") and "<colours>" in prior.tokenizer.get_vocab()

    invoke("sample", "a red circle", "--n", "2", "--name", "drawn")
    rows = (workspace.root / "samples" / "drawn" / "samples.jsonl").read_text().splitlines()
    z = z_from_text(json.loads(rows[0])["z"])
    assert tuple(z) == ("boxes", "colours")
    element = next(e.id for e in document_of(z).elements if e.colours)
    invoke("edit", "drawn/0000-0000", "--recolour", element, "#2050d0", "--name", "blue")
    after = (workspace.root / "samples" / "blue" / "samples.jsonl").read_text()
    assert "#2050D0" in (workspace.root / "samples" / "blue" / "after.z.json").read_text()
    items = z_from_text(json.loads(after)["z"])["colours"].items
    changed = [new for new, old in zip(items, z["colours"].items, strict=True) if new != old]
    assert [item.hexes for item in changed] == [("#2050D0",)]

    invoke("evaluate", "--models", "kaleido", "--captions", "2", "--n", "2", "--name", "small")
    report = (workspace.root / "reports" / "small" / "index.html").read_text()
    assert "Colours of elements kept" in report


def test_boxes_blobs_and_colours_share_the_pass_of_one_detector(workspace, write_data):
    write_data(list(make_records(2, seed=0)), 2)
    stages = build_stages(["boxes", "palette", "colours", "blobs"], StageContext(workspace))
    assert [[spec.output for spec in stage.specs] for stage in stages] == [
        ["boxes", "colours", "blobs"],
        ["palette"],
    ]
