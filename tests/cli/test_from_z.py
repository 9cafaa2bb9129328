"""z goes out and comes back: the same pictures from the list and from documents."""

import json

import numpy as np
import pytest
from PIL import Image


def pictures(folder):
    return np.stack([Image.open(path) for path in sorted(folder.glob("0*.png"))]).astype(int)


def rows(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


@pytest.fixture
def drawn(tmp_path, monkeypatch, invoke):
    """Return a folder with three samples of the embedded models, all five kinds of z."""
    monkeypatch.chdir(tmp_path)
    kinds = "description,boxes,blobs,tokens,palette"
    invoke(
        "sample", "a red star and a circle", "--n", "3", "--steps", "3", "--z", kinds, "--out", "a"
    )
    return tmp_path / "a"


def test_unedited_z_gives_the_same_pictures(drawn, tmp_path, invoke):
    before = pictures(drawn)
    invoke("sample", "--from-z", "a/samples.jsonl", "--steps", "3", "--out", "again")
    assert all(
        np.array_equal(a, b) for a, b in zip(before, pictures(tmp_path / "again"), strict=True)
    )
    documents = tmp_path / "documents.z.jsonl"
    documents.write_text("".join(json.dumps(row["document"]) + "\n" for row in rows(drawn)))
    invoke("sample", "--from-z", str(documents), "--steps", "3", "--out", "stored")
    assert all(
        np.array_equal(a, b) for a, b in zip(before, pictures(tmp_path / "stored"), strict=True)
    )
    for a, b in zip(rows(tmp_path / "stored"), rows(drawn), strict=True):
        assert a["document"] == b["document"]


def test_one_sample_keeps_its_noise_and_other_noise_can_be_asked_for(drawn, tmp_path, invoke):
    (tmp_path / "last.jsonl").write_text(json.dumps(rows(drawn)[2]) + "\n")
    invoke("sample", "--from-z", "last.jsonl", "--steps", "3", "--out", "last")
    # A batch of another size rounds differently, by one level at most.
    assert abs(pictures(tmp_path / "last")[0] - pictures(drawn)[2]).max() <= 1
    noise = ("--noise-seed", "1")
    invoke("sample", "--from-z", "last.jsonl", "--steps", "3", *noise, "--out", "other")
    assert abs(pictures(tmp_path / "other")[0] - pictures(drawn)[2]).max() > 10


def test_what_is_wrong_with_a_file_of_z_is_said(drawn, tmp_path, invoke):
    row = rows(drawn)[0]
    (tmp_path / "cut.jsonl").write_text(json.dumps(row | {"z": row["z"][:-20]}))
    assert "z 0" in invoke("sample", "--from-z", "cut.jsonl", code=1).err
    (tmp_path / "bad.z.json").write_text('{"format":"kaleido.z","version":1,"elements":3}')
    assert "elements" in invoke("sample", "--from-z", "bad.z.json", code=1).err
    nameless = {"format": "kaleido.z", "version": 1, "description": "A star."}
    (tmp_path / "nameless.z.json").write_text(json.dumps(nameless))
    assert "caption" in invoke("sample", "--from-z", "nameless.z.json", code=1).err
    invoke("sample", "a star", "--from-z", "nameless.z.json", "--steps", "2", "--out", "ok")
    assert invoke("sample", "--from-z", "nameless.z.json", "--baseline", code=2)
