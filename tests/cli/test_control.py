import json

import pytest

BOXES = ("--z", "boxes,blobs")


def test_requirements_hold_in_plans_and_their_pictures_are_verified(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("a star", "--n", "2", "--require", "star@left", *BOXES)
    invoke("plan", *asked, "--out", "p")
    lines = (tmp_path / "p" / "documents.z.jsonl").read_text().splitlines()
    for line in lines:
        (element,) = json.loads(line)["elements"]
        left, _, right, _ = element["box"]
        assert element["label"] == "star" and (left + right) / 2 < 0.334
    (tmp_path / "given.json").write_text(lines[0])
    given = ("--given", "given.json", "--z", "boxes,palette", "--out", "g", "--n", "2")
    invoke("plan", *given)
    drawn = [json.loads(x) for x in (tmp_path / "g" / "documents.z.jsonl").read_text().splitlines()]
    assert [d["caption"] for d in drawn] == ["a star"] * 2
    assert len({json.dumps(d["elements"][0]["box"]) for d in drawn}) == 1

    summary = invoke("sample", *asked, "--verify", "0", "--steps", "2", "--out", "s", "--json")
    found = json.loads(summary.out)
    assert found["tries"] == 2 and 0 <= found["at_once"] == found["verified"] <= 2
    words = invoke("sample", *asked, "--verify", "0", "--steps", "2", "--out", "t").out
    assert f"in {found['verified']} of 2 pictures" in words


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--require", "star@somewhere"), 1),
        (("--require", "hat"), 1),
        (("--forbid", "circle", "--require", "circle"), 1),
        (("--verify", "1"), 1),
        (("--require", "star", "--baseline"), 2),
        (("--require", "star", "--verify", "1", "--diverse", "20"), 2),
        (("--given", "none.json"), 1),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    invoke, tmp_path, monkeypatch, flags, code
):
    monkeypatch.chdir(tmp_path)
    invoke("sample", "a star", *flags, "--out", "s", code=code)
    assert not (tmp_path / "s").exists()
