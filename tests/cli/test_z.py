import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.documents.convert import convert

ROOT = Path(__file__).parents[1] / "documents"
KITE = str(ROOT / "kite.z.json")
COCO = str(ROOT / "dialects" / "kite.coco.json")


def test_verify_lists_every_problem_and_ends_with_2(invoke, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_bytes((ROOT / "dialects" / "kite.ideogram4.json").read_bytes())
    body = {"background": 3, "elements": [{"type": "x"}]}
    bad.write_text(json.dumps({"compositional_deconstruction": body}))
    out, _ = invoke("z", "verify", str(tmp_path), "--from", "ideogram4", code=2)
    assert out.count("bad.json") == 2 and "good.json" not in out
    out, _ = invoke("z", "verify", str(good), "--from", "ideogram4", "--json")
    assert json.loads(out)["files"][0]["documents"] == 1


def test_verify_warns_of_descriptions_that_contradict_the_boxes(invoke, tmp_path):
    form = json.loads(Path(KITE).read_text()) | {"description": "A kite at the bottom left."}
    (tmp_path / "a.z.json").write_text(json.dumps(form))
    out, _ = invoke("z", "verify", str(tmp_path))
    assert "warning: description: It says 'A kite at the bottom left'" in out
    assert "[contradiction]" in out and "0 files have errors" in out
    assert "contradiction" not in invoke("z", "verify", KITE).out
    listed = tmp_path / "two.z.jsonl"
    listed.write_text("".join(f"{json.dumps(form | {'key': key})}\n" for key in ("a", "b")))
    assert "warning: b: description: It says" in invoke("z", "verify", str(listed)).out


def test_convert_asks_before_anything_is_lost(invoke, tmp_path):
    out = tmp_path / "out"
    convert = ("z", "convert", COCO, "--from", "coco", "--to", "yolo", "--out", str(out))
    _, error = invoke(*convert, code=1)
    assert "--allow-loss extra,mask" in " ".join(error.split()) and not out.exists()
    text, _ = invoke(*convert, "--allow-loss", "extra,mask")
    assert "lost: mask, 2 times" in text
    assert (out / "a.txt").read_text() == "0 0.5 0.8 1 0.4\n1 0.6605 0.255 0.2005 0.27\n"
    assert (out / "data.yaml").read_text() == 'names:\n  0: "hill"\n  1: "kite"\n'
    _, error = invoke(*convert, "--allow-loss", "all", code=1)
    assert "exists" in error
    names = ("--names", str(out / "data.yaml"))
    target = ("--to", "kaleido.z", "--out", str(tmp_path / "z"))
    invoke("z", "convert", str(out / "a.txt"), "--from", "yolo", *names, *target)
    assert '"label":"kite"' in (tmp_path / "z" / "documents.z.jsonl").read_text()


KEYS = (
    "../evil", "a/../../evil", "/{out}/../evil", "..\\evil", "C:\\evil", "C:evil", "a//b", "./a",
    "a\nb", "a\0b", "\x1b[2J", "é" * 130,
)  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("target", ["yolo", "prose", "bbox", "labelme", "voc", "ideogram4", "fibo"])
def test_no_key_leads_out_of_the_folder(tmp_path, key, target):
    form = json.loads(Path(KITE).read_text()) | {"key": key.format(out=tmp_path)}
    (tmp_path / "a.z.json").write_text(json.dumps(form))
    with pytest.raises(KaleidoError) as caught:
        convert([tmp_path / "a.z.json"], "kaleido.z", target, tmp_path / "new" / "out", ["all"])
    assert caught.value.code == "bad-data"
    assert caught.value.what.isascii() and caught.value.what.isprintable()
    assert [path.name for path in tmp_path.rglob("*")] == ["a.z.json"]


def test_a_key_may_name_a_folder_below(tmp_path):
    form = json.loads(Path(KITE).read_text()) | {"key": "train/0001"}
    (tmp_path / "a.z.json").write_text(json.dumps(form))
    convert([tmp_path / "a.z.json"], "kaleido.z", "prose", tmp_path / "out", ["all"])
    assert (tmp_path / "out" / "train" / "0001.txt").is_file()


def test_a_faulty_file_is_not_converted_in_part(invoke, tmp_path):
    (tmp_path / "a.bbox").write_text('[{"label":"a","bbox":[0,0,1,1]}]')
    (tmp_path / "b.bbox").write_text('[{"label":"a","bbox":[0,0,9,9]}]')
    target = ("--to", "prose", "--out", str(tmp_path / "o"))
    _, error = invoke("z", "convert", str(tmp_path), "--from", "bbox", *target, code=1)
    assert "b.bbox" in error and not (tmp_path / "o").exists()


def test_show_prints_words_and_draws(invoke, tmp_path):
    picture = tmp_path / "kite.png"
    out, _ = invoke("z", "show", KITE, "--picture", str(picture))
    assert "kite  box 0.56 0.12 0.76 0.39  #D8342C" in out
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3).astype(int)
    for colour in ((0x6F, 0xA8, 0x5A), (0xBF, 0xDD, 0xEB), (0xD8, 0x34, 0x2C)):
        assert (abs(pixels - colour).max(axis=1) < 3).any(), "the palette is drawn"


def test_diff_names_paths(invoke, tmp_path):
    form = json.loads(Path(KITE).read_text())
    form["elements"][1]["box"][0] = 0.5
    del form["background"]
    other = tmp_path / "other.z.json"
    other.write_text(json.dumps(form))
    out, _ = invoke("z", "diff", KITE, str(other), code=1)
    assert "elements.e1.box" in out and "background: Pale blue sky. -> nothing" in out
    assert invoke("z", "diff", KITE, KITE).out == "The documents are equal.\n"


def test_formats_schema_and_unknown_names(invoke):
    out, _ = invoke("z", "formats")
    assert "ideogram4" in out and "paligemma" in out
    assert json.loads(invoke("z", "schema").out)["additionalProperties"] is False
    assert "ideogram4" in invoke("z", "verify", KITE, "--from", "ideogram", code=1).err
    assert "only be read" in invoke("z", "convert", KITE, "--to", "gbc", code=1).err


def sample_list(folder, *files):
    """Write a samples.jsonl of the kite, under these names."""
    form = json.loads(Path(KITE).read_text())
    rows = [{"file": name, "document": form} for name in files]
    path = folder / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_list_of_samples_is_read_and_exported(invoke, tmp_path):
    listed = sample_list(tmp_path, "0000-0000.png", "0000-0001.png")
    assert "0000-0001: " in invoke("z", "show", listed).out
    assert "1 files, 2 documents; 0 files" in invoke("z", "verify", listed).out
    out = tmp_path / "fibo"
    export = ("z", "export", listed, "--to", "fibo", "--out", str(out))
    assert "--allow-loss" in invoke(*export, code=1).err and not out.exists()
    invoke(*export, "--allow-loss", "all")
    assert sorted(path.name for path in out.iterdir()) == ["0000-0000.json", "0000-0001.json"]
    assert "--kinds" in invoke(*export, "--kinds", "boxes", code=2).err


def test_latents_of_the_workspace_are_exported(invoke, workspace, records, write_data, tmp_path):
    write_data(records, 4)
    named = ("-w", str(workspace.root))
    target = ("--to", "kaleido.z", "--out", str(tmp_path / "out"))
    assert "extract" in invoke("z", "export", *target, *named, code=1).err
    invoke("extract", "palette", *named)
    out, _ = invoke("z", "export", *target, *named, "--kinds", "palette", "--json")
    found = json.loads(out)
    assert (found["documents"], found["without"], found["kinds"]) == (10, 0, ["palette"])
    assert len((tmp_path / "out" / "documents.z.jsonl").read_text().splitlines()) == 10


def test_a_key_of_a_file_cannot_write_outside_of_the_folder(invoke, tmp_path):
    form = json.loads(Path(KITE).read_text())
    for number, key in enumerate(("../evil", "/evil", "a\\b", ".hidden", "c:x")):
        path = tmp_path / f"{number}.z.json"
        path.write_text(json.dumps(form | {"key": key}))
        target = ("--to", "fibo", "--allow-loss", "all", "--out", str(tmp_path / "in" / "out"))
        assert "key" in invoke("z", "convert", str(path), *target, code=1).err
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "in").exists()


def test_a_drawing_never_replaces_a_file(invoke, tmp_path):
    picture = tmp_path / "mine.png"
    picture.write_bytes(b"mine")
    out, error = invoke("z", "show", KITE, "--picture", str(picture), code=1)
    assert not out and str(picture) in error
    assert picture.read_bytes() == b"mine"
