from __future__ import annotations

import json

import pytest

from tests.bases.tiny_pipelines import AVAILABLE

CAPTION = "two circles and a star"

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def plan_for(invoke, base_folder, tmp_path):
    """Return a function that runs `plan --base` and returns the rows of its prompts."""

    def run(family, *arguments):
        base = ("--base", str(base_folder(family)), "--out", str(tmp_path / family))
        said = invoke("plan", CAPTION, "--n", "2", *base, *arguments)
        lines = (tmp_path / family / "prompts.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines], said

    return run


def test_prompts_are_those_that_sample_sends(plan_for, invoke, base_folder, tmp_path):
    rows, said = plan_for("sdxl")
    documents = str(tmp_path / "sdxl" / "documents.z.jsonl")
    quick = ("--steps", "1", "--cfg", "1", "--size", "64", "--out", str(tmp_path / "drawn"))
    invoke("sample", "--from-z", documents, "--base", str(base_folder("sdxl")), *quick)
    drawn = (tmp_path / "drawn" / "samples.jsonl").read_text("utf-8").splitlines()
    assert [row["prompt"] for row in rows] == [json.loads(line)["prompt"] for line in drawn]
    assert [row["key"] for row in rows] == ["0000-0000", "0000-0001"]
    assert all(row["prompt"].startswith(CAPTION) and row["tokens"] % 77 == 0 for row in rows)
    assert "longer than 77 tokens" in said.err and "Prompts for Stable Diffusion XL" in said.out


@pytest.mark.parametrize(
    ("family", "key"),
    [
        ("ideogram4", "high_level_description"),
        ("fibo", "short_description"),
        ("fibo2", "short_description"),
    ],
)
def test_a_base_that_reads_json_gets_json(plan_for, family, key):
    if family not in AVAILABLE:
        pytest.skip("this diffusers does not know it")
    rows, _ = plan_for(family)
    found = json.loads(rows[0]["prompt"])
    assert found[key].startswith(CAPTION)
    assert rows[0]["unsaid"] and 0 < rows[0]["tokens"] <= rows[0]["limit"]


def test_what_does_not_fit_is_listed(plan_for):
    rows, said = plan_for("lumina2")  # a token a letter, and a system prompt
    assert any(row["unsaid"] for row in rows)
    assert "leave out a part of z" in said.err


def test_the_bases_format_is_no_other(invoke, base_folder):
    base = str(base_folder("sdxl"))
    assert "--to" in invoke("plan", CAPTION, "--base", base, "--to", "fibo", code=2).err


def test_json_names_the_file(invoke, base_folder, tmp_path):
    common = ("--out", str(tmp_path / "x"), "--n", "1", "--json")
    said = invoke("plan", CAPTION, "--base", str(base_folder("sana")), *common)
    found = json.loads(said.out)["prompts"]
    assert (found["count"], found["base"]) == (1, "Sana")
    plain = ("--out", str(tmp_path / "y"), *common[2:])
    assert json.loads(invoke("plan", CAPTION, *plain).out)["prompts"] is None
