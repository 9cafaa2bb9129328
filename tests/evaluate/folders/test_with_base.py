from __future__ import annotations

import json

import pytest

from pipelines.bases.draw import draw
from pipelines.plan import base_pictures

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CAPTION = "two circles and a star"
QUICK = ("--n", "3", "--cfg", "3", "--steps", "2", "--set", "sample.size=64", "--name", "try")


def test_one_command_draws_both_and_answers(invoke, base_folder, dinov2, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "captions.txt").write_text(f"{CAPTION}\na red heart\n")
    base = ("--base", str(base_folder("sana")), "--features", str(dinov2))
    said = invoke("evaluate", "--prompts", "captions.txt", *base, *QUICK)
    assert "try-planned" in said.out and "vendi[dinov2" in said.out
    rows = {}
    for part in ("plain", "planned"):
        lines = (tmp_path / "samples" / f"try-{part}" / "samples.jsonl").read_text("utf-8")
        rows[part] = [json.loads(line) for line in lines.splitlines()]
    assert [row["caption"] for row in rows["plain"]] == [CAPTION] * 3 + ["a red heart"] * 3
    assert [row["index"] for row in rows["plain"]] == [row["index"] for row in rows["planned"]]
    assert rows["plain"][0]["settings"] == rows["planned"][0]["settings"]
    assert rows["plain"][0]["settings"]["cfg"] == 3.0 and "document" in rows["planned"][0]
    report = json.loads((tmp_path / "reports" / "try" / "report.json").read_text("utf-8"))
    assert report["captions"] == {CAPTION: 3, "a red heart": 3}
    assert len(report["answers"]) == 1 and "differ in more" not in " ".join(report["warnings"])


def test_mistakes_show_first(invoke, base_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = ("--base", str(base_folder("sana")))
    assert "--prompts" in invoke("evaluate", *base, code=2).err
    assert "one --cfg" in invoke("evaluate", CAPTION, *base, "--cfg", "1,3", code=2).err
    assert "--seeds" in invoke("evaluate", CAPTION, *base, "--seeds", "1", code=2).err
    assert "--models" in invoke("evaluate", CAPTION, *base, "--models", "kaleido", code=2).err
    assert "needs --base" in invoke("evaluate", CAPTION, code=2).err
    (tmp_path / "samples" / "evaluation-plain").mkdir(parents=True)
    (tmp_path / "samples" / "evaluation-plain" / "file").write_text("x")
    invoke("evaluate", CAPTION, *base, code=1)


def test_a_killed_run_goes_on_without_drawing_again(
    invoke, base_folder, dinov2, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ("evaluate", CAPTION, "--base", str(base_folder("sana")), "--features", str(dinov2))
    drawn: list[int] = []

    def counted(base, prompts, *rest):
        for pixels in draw(base, prompts, *rest):
            drawn.append(len(drawn))
            yield pixels
            if len(drawn) == 5:  # of three plain ones and three of z
                raise KeyboardInterrupt

    monkeypatch.setattr(base_pictures, "draw", counted)
    invoke(*command, *QUICK, code=130)
    stopped = tmp_path / "samples" / "try-planned-stopped"
    before = {path.name: path.read_bytes() for path in stopped.glob("*-*.png")}
    assert len(before) == 2 and len(drawn) == 5
    said = invoke(*command, *QUICK)
    assert "drawn already" in said.err and "2 of its pictures are not drawn again" in said.err
    assert len(drawn) == 6
    again = {path.name: path.read_bytes() for path in (stopped.parent / "try-planned").glob("*-*")}
    assert len(again) == 3 and before.items() < again.items()
    invoke(*command, *QUICK)
    assert len(drawn) == 6, "a finished run is not drawn again either"
    other = invoke(*command, *QUICK, "--set", "sample.seed=3", code=1)
    assert "exists already" in other.err and len(drawn) == 6
