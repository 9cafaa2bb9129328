"""The README's example with models of others, on tiny networks of their classes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import huggingface_hub
import pytest

from tests.servers.model_server import MODEL, model_server

ROOT = Path(__file__).parents[2]
TWINS = {
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "black-forest-labs/FLUX.2-klein-base-4B": "flux2-klein",
}
QUICK = ("--n", "2", "--steps", "1", "--size", "64")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def lines_of_the_readme() -> list[list[str]]:
    """Return the commands of the section, as words without `kaleido`."""
    text = (ROOT / "README.md").read_text("utf-8")
    section = re.search(r"^## With the model you have\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    lines = re.findall(r"^kaleido (.*?)(?:  #.*)?$", section[1], re.MULTILINE)
    return [shlex.split(line) for line in lines]


def write_plans(exchange) -> None:
    place = {"left": 100, "top": 100, "width": 300, "height": 300}
    elements = [{"label": label, "detail": "plain", **place} for label in ("red kite", "lake")]
    plans = [{"background": f"sky {exchange.number} {n}", "elements": elements} for n in range(4)]
    exchange.answer(json.dumps({"plans": plans}))


def test_every_line_of_the_example_runs(invoke, base_folder, dinov2, tmp_path, monkeypatch):
    def fetch(name, allow_patterns, ignore_patterns=()):
        return str(base_folder(TWINS[name]))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    monkeypatch.chdir(tmp_path)
    invoke("init", ".")
    lines = lines_of_the_readme()
    assert [line[0] for line in lines] == ["base", "sample", "sample", "sample", "evaluate"]
    with model_server() as server:
        server.behaviour = write_plans
        for words in lines:
            own = [f"{server.url}#{MODEL}" if "localhost" in word else word for word in words]
            own = [str(dinov2) if word == "facebook/dinov2-base" else word for word in own]
            invoke(*own, *(QUICK if words[0] == "sample" else ()))
    assert "vendi[dinov2" in (tmp_path / "reports" / "evaluation" / "report.json").read_text(
        "utf-8"
    )
    for name, planned in (("kites", True), ("klein", True), ("without-plans", False)):
        rows = (tmp_path / "samples" / name / "samples.jsonl").read_text("utf-8").splitlines()
        assert ["document" in json.loads(row) for row in rows] == [planned] * 2
