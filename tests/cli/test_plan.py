import json

import numpy as np
from PIL import Image


def test_plans_are_documents_that_sample_draws(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    caption = "two circles and a star"
    out, _ = invoke("plan", caption, "--n", "3", "--out", "p", "--z", "boxes,palette", "--json")
    summary = json.loads(out)
    assert summary["z_kinds"] == ["boxes", "palette"] and summary["source"] == "embedded"
    lines = (tmp_path / "p" / "documents.z.jsonl").read_text().splitlines()
    documents = [json.loads(line) for line in lines]
    assert [d["key"] for d in documents] == ["0000-0000", "0000-0001", "0000-0002"]
    assert all(len(d["elements"]) == 3 and d["caption"] == caption for d in documents)
    sheet = np.asarray(Image.open(tmp_path / "p" / "sheet.png"))
    assert sheet.std() > 5
    invoke("sample", "--from-z", "p/documents.z.jsonl", "--steps", "2", "--out", "s")
    drawn = (tmp_path / "s" / "samples.jsonl").read_text().splitlines()
    invoke("sample", caption, "--n", "3", "--z", "boxes,palette", "--steps", "2", "--out", "t")
    plain = (tmp_path / "t" / "samples.jsonl").read_text().splitlines()
    for a, b in zip(drawn, plain, strict=True):
        assert json.loads(a)["document"] == json.loads(b)["document"], "the z of the samples"


def test_plans_for_another_model_ask_before_they_lose_anything(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = ("plan", "a star", "--n", "2", "--z", "boxes,palette", "--to", "ideogram4", "--out", "p")
    assert "--allow-loss" in invoke(*plan, code=1).err and not (tmp_path / "p").exists()
    invoke(*plan, "--allow-loss", "weights")
    files = sorted(str(path) for path in (tmp_path / "p").glob("*.json"))
    assert len(files) == 2
    invoke("z", "verify", *files, "--from", "ideogram4")


def test_choosing_says_what_it_gains_and_costs(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = ("plan", "a star", "--n", "4", "--z", "palette", "--out", "p")
    out, err = invoke(*plan, "--diverse", "24")
    assert "Next: `kaleido sample --from-z p/documents.z.jsonl`" in err
    assert "chosen from 24: spread" in out and "nats a token" in out
    assert "fewer" in invoke(*plan, "--diverse", "2", code=1).err
    assert "caption" in invoke("plan", "--n", "2", code=1).err


def test_samples_are_chosen_as_plans_are(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("a star", "--n", "2", "--z", "palette", "--diverse", "8")
    plans = json.loads(invoke("plan", *asked, "--out", "p", "--json").out)["captions"][0]
    sample = ("sample", *asked, "--steps", "1", "--out")
    summary = json.loads(invoke(*sample, "s", "--json").out)
    assert summary["samples"] == 2 and summary["choices"][0]["gain"] == plans["gain"]
    assert summary["choices"][0]["indices"] == [each["index"] for each in plans["plans"]]
    assert "chosen from 8: spread" in invoke(*sample, "t").out
    assert "baseline" in invoke(*sample, "u", "--baseline", code=2).err
    assert "--diverse" in invoke("sample", "--from-z", "p", "--diverse", "8", code=2).err
