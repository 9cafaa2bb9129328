from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import KaleidoError
from pipelines.evaluate.folders.run import compare_folders
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def write(folder, captions, colours, count=6, noise=66, seed=0, texts=True):
    """Write pictures: each caption's show one of some colours, with noise."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for c, caption in enumerate(captions):
        for number in range(count):
            base = np.array(colours[number % len(colours)])
            pixels = (base + rng.integers(0, noise, (32, 48, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{c:02}-{number:03}.png")
            if texts:
                (folder / f"{c:02}-{number:03}.txt").write_text(caption)
    return folder


RED = [(200, 20, 20)]
MANY = [(200, 20, 20), (20, 200, 20), (20, 20, 200), (200, 200, 20), (5, 5, 5), (210, 210, 210)]


@pytest.fixture
def at(tmp_path):
    return Workspace(tmp_path, Settings())


def values(summary, metric):
    return {row["folder"]: row for row in summary.rows if row["metric"].startswith(metric)}


class TestOneCaption:
    def test_more_varied_pictures_are_found_so(self, tmp_path, at):
        write(tmp_path / "plain", ["a thing"], RED)
        write(tmp_path / "varied", ["a thing"], MANY)
        folders = [str(tmp_path / name) for name in ("plain", "varied")]
        summary = compare_folders(at, folders)
        (answer,) = summary.answers
        assert answer.startswith("Yes: varied is more varied than plain.")
        found = values(summary, "vendi[colour")
        assert found["plain"]["value"] < 1.2
        assert found["varied"]["value"] > 4
        change = found["varied"]["difference"]
        assert 0 < change["low"] < change["value"] < change["high"]
        assert values(summary, "repeats")["plain"]["value"] == 1
        assert values(summary, "repeats")["varied"]["value"] == 0
        assert any("these captions alone" in text for text in summary.warnings)
        assert compare_folders(at, folders[::-1]).answers[0].startswith("No: plain")

    def test_pictures_of_one_kind_show_nothing(self, tmp_path, at):
        for seed, name in enumerate("ab"):
            write(tmp_path / name, ["a thing"], MANY, count=8, seed=seed)
        summary = compare_folders(at, [str(tmp_path / name) for name in "ab"])
        assert summary.answers[0].startswith("Not shown")


def test_with_many_captions_intervals_are_over_them(tmp_path, at):
    captions = [f"thing {number}" for number in range(8)]
    write(tmp_path / "plain", captions, RED, count=3)
    write(tmp_path / "varied", captions, MANY, count=3)
    summary = compare_folders(at, [str(tmp_path / name) for name in ("plain", "varied")])
    assert summary.answers[0].startswith("Yes")
    assert not any("these captions alone" in text for text in summary.warnings)


def test_equal_numbers_of_shared_captions_are_compared(tmp_path, at):
    write(tmp_path / "a", ["one", "two"], RED, count=3)
    write(tmp_path / "b", ["one", "three"], RED, count=5)
    summary = compare_folders(at, [str(tmp_path / name) for name in "ab"], most=2)
    report = json.loads(summary.json.read_text("utf-8"))
    assert report["captions"] == {"one": 2}
    text = " ".join(summary.warnings)
    assert "2 captions are left out" in text and "4 pictures are left out" in text


def test_folders_without_captions_are_compared_as_they_are(tmp_path, at):
    write(tmp_path / "a", ["", ""], RED, texts=False)
    write(tmp_path / "b", ["", ""], MANY, texts=False)
    summary = compare_folders(at, [str(tmp_path / name) for name in "ab"])
    assert json.loads(summary.json.read_text("utf-8"))["captions"] == {"": 12}


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "gone"), ("a", "other")])
def test_what_cannot_be_compared_is_refused(tmp_path, at, first, second):
    write(tmp_path / "a", ["one"], RED)
    write(tmp_path / "other", ["two"], RED)
    with pytest.raises(KaleidoError):
        compare_folders(at, [str(tmp_path / first), str(tmp_path / second)])


def test_a_network_that_reads_text_tells_adherence(tmp_path, clip, invoke, monkeypatch):
    monkeypatch.chdir(tmp_path)  # no workspace is needed
    write(tmp_path / "a", ["red"], RED)
    write(tmp_path / "b", ["red"], MANY)
    folders = [word for name in "ab" for word in ("--pictures", str(tmp_path / name))]
    said = invoke("evaluate", *folders, "--features", str(clip))
    assert "CLIP score changes by" in said.out and "clip[" in said.out


def test_samples_are_found_by_name_with_their_z(tmp_path, at, invoke, base_folder, monkeypatch):
    monkeypatch.chdir(tmp_path)
    invoke("init", ".")
    common = ("--base", str(base_folder("sana")), "--n", "3", "--size", "64", "--steps", "2")
    caption = "two circles and a star"
    invoke("sample", caption, *common, "--cfg", "3", "--baseline", "--name", "plain")
    invoke("sample", caption, *common, "--cfg", "4", "--z", "boxes,palette", "--name", "planned")
    said = invoke("evaluate", "--pictures", "plain", "--pictures", "planned", "--name", "both")
    assert "differ in more than z: cfg (3.0 and 4.0)" in said.out
    page = (tmp_path / "reports" / "both" / "index.html").read_text("utf-8")
    assert page.count("data:image/png") == 2 and caption in page
    assert "kaleido evaluate --pictures plain --pictures planned --name both" in page
    report = json.loads((tmp_path / "reports" / "both" / "report.json").read_text("utf-8"))
    rows = {(row["folder"], row["metric"]): row for row in report["rows"]}
    assert rows["plain", "prompts"]["value"] == pytest.approx(1 / 3)
    assert rows["planned", "prompts"]["value"] == 1
    assert rows["planned", "palette"]["value"] > 0 and ("plain", "palette") not in rows


@pytest.mark.parametrize(
    "line", ["no JSON", '{"file": "../a.png", "caption": "a"}', '{"file": "a.png", "caption": 3}']
)
def test_a_list_that_is_damaged_is_refused(tmp_path, at, line):
    for name in "ab":
        write(tmp_path / name, ["one"], RED)
    (tmp_path / "b" / "samples.jsonl").write_text(line)
    with pytest.raises(KaleidoError) as caught:
        compare_folders(at, [str(tmp_path / name) for name in "ab"])
    assert (caught.value.code, "line 1" in caught.value.what) == ("bad-data", True)


def test_flags_of_drawing_make_no_sense(invoke, tmp_path):
    said = invoke("evaluate", "--pictures", "a", "--pictures", "b", "--steps", "3", code=2)
    assert "--steps" in said.err
    invoke("evaluate", "--pictures", "a", "--pictures", "b", "--toy", code=2)
    said = invoke("evaluate", "--pictures", "a", "--pictures", "b", "--negative", "fog", code=2)
    assert "--negative" in said.err
    assert "--base" in invoke("evaluate", "--embedded", "--negative", "fog", code=2).err
