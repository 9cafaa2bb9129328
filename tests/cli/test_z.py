import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kaleido_cli.__main__ import main

DIALECTS = Path(__file__).parents[1] / "documents" / "dialects"
KITE = Path(__file__).parents[1] / "documents" / "kite.z.json"


def run(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["kaleido", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


@pytest.fixture
def kaleido(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


def test_verify_lists_every_problem_and_ends_with_2(kaleido, tmp_path):
    (tmp_path / "good.json").write_text((DIALECTS / "kite.ideogram4.json").read_text())
    bad = {"compositional_deconstruction": {"background": 3, "elements": [{"type": "x"}]}}
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    status, out, _ = kaleido("z", "verify", tmp_path, "--from", "ideogram4")
    assert status == 2 and "[type]" in out and "1 files have errors" in out
    assert out.count("bad.json") == 2 and "good.json" not in out
    status, out, _ = kaleido("z", "verify", tmp_path / "good.json", "--from", "ideogram4", "--json")
    assert status == 0 and json.loads(out)["files"][0]["documents"] == 1


def test_convert_asks_before_anything_is_lost(kaleido, tmp_path):
    source = DIALECTS / "kite.coco.json"
    out = tmp_path / "out"
    status, _, error = kaleido(
        "z", "convert", source, "--from", "coco", "--to", "yolo", "--out", out
    )
    assert status == 1 and "--allow-loss extra,mask" in " ".join(error.split())
    assert not out.exists()
    status, text, _ = kaleido(
        *("z", "convert", source, "--from", "coco", "--to", "yolo", "--out", out),
        *("--allow-loss", "extra,mask"),
    )
    assert status == 0 and "lost: mask, 2 times" in text
    assert (out / "a.txt").read_text() == "0 0.5 0.8 1 0.4\n1 0.6605 0.255 0.2005 0.27\n"
    assert (out / "data.yaml").read_text() == 'names:\n  0: "hill"\n  1: "kite"\n'
    again = ("z", "convert", source, "--from", "coco", "--to", "yolo", "--out", out)
    status, _, error = kaleido(*again, "--allow-loss", "all")
    assert status == 1 and "exists" in error
    status, text, _ = kaleido(
        *("z", "convert", out / "a.txt", "--from", "yolo", "--names", out / "data.yaml"),
        *("--to", "kaleido.z", "--out", tmp_path / "z"),
    )
    assert status == 0 and '"label":"kite"' in (tmp_path / "z" / "documents.z.jsonl").read_text()


def test_a_faulty_file_is_not_converted_in_part(kaleido, tmp_path):
    (tmp_path / "a.bbox").write_text('[{"label":"a","bbox":[0,0,1,1]}]')
    (tmp_path / "b.bbox").write_text('[{"label":"a","bbox":[0,0,9,9]}]')
    status, _, error = kaleido(
        *("z", "convert", tmp_path, "--from", "bbox", "--to", "prose", "--out", tmp_path / "o")
    )
    assert status == 1 and "b.bbox" in error and not (tmp_path / "o").exists()


def test_show_prints_words_and_draws(kaleido, tmp_path):
    status, out, _ = kaleido("z", "show", KITE, "--picture", tmp_path / "kite.png")
    assert status == 0 and "kite  box 0.56 0.12 0.76 0.39  #D8342C" in out
    pixels = np.asarray(Image.open(tmp_path / "kite.png").convert("RGB")).reshape(-1, 3)
    for colour in ((0x6F, 0xA8, 0x5A), (0xBF, 0xDD, 0xEB), (0xD8, 0x34, 0x2C)):
        assert (abs(pixels.astype(int) - colour).max(axis=1) < 3).any(), "the palette is drawn"


def test_diff_names_paths(kaleido, tmp_path):
    form = json.loads(KITE.read_text())
    form["elements"][1]["box"][0] = 0.5
    del form["background"]
    (tmp_path / "other.z.json").write_text(json.dumps(form))
    status, out, _ = kaleido("z", "diff", KITE, tmp_path / "other.z.json")
    assert status == 1 and "elements.e1.box" in out
    assert "background: Pale blue sky. -> nothing" in out
    assert kaleido("z", "diff", KITE, KITE)[:2] == (0, "The documents are equal.\n")


def test_formats_schema_and_unknown_names(kaleido):
    status, out, _ = kaleido("z", "formats")
    assert status == 0 and "ideogram4" in out and "paligemma" in out
    assert json.loads(kaleido("z", "schema")[1])["additionalProperties"] is False
    status, _, error = kaleido("z", "verify", KITE, "--from", "ideogram")
    assert status == 1 and "ideogram4" in error
    status, _, error = kaleido("z", "convert", KITE, "--to", "gbc")
    assert status == 1 and "only be read" in error
