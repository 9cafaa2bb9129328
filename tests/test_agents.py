"""AGENTS.md: its two examples run, six lines each."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from pipelines.latents.boxes import Box
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.models.prior import Prior
from pipelines.sample.decode import draw_z
from pipelines.scenes.generate import make_records
from pipelines.workspace.reader import read_joined

PAGE = Path(__file__).parents[1] / "AGENTS.md"
TINY = """
[prior]
d_model = 32
d_ff = 32
layers = 1
heads = 2
steps = 2
batch_size = 4
warmup = 1
"""


def example(name: str) -> tuple[str, dict[str, dict[str, str]]]:
    """Return the page's module of this name, and the entry points that it declares for it."""
    blocks = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    return blocks[f"{name}.py"], tomllib.loads(blocks[f"{name}.toml"])["project"]["entry-points"]


@pytest.fixture
def scenes(workspace, write_data, monkeypatch):
    write_data(list(make_records(4, seed=3)), 4)
    (workspace.root / "kaleido.toml").write_text(TINY)
    monkeypatch.chdir(workspace.root)
    return workspace


def latents(workspace, kind: str) -> list:
    (shard,) = workspace.data_shards()
    return [record.latents[kind] for record in read_joined(workspace, shard, [kind])]


def test_the_kind_is_extracted_learnt_and_drawn(site, scenes, invoke):
    module, groups = example("kaleido_subject")
    site.install("kaleido-subject", groups, kaleido_subject=module)
    invoke("extract", "plugin", "subject")
    found = latents(scenes, "subject")
    assert [latent.items for latent in found] == [(Box("it", 250, 250, 750, 750),)] * 4
    invoke("train", "prior", "--z", "subject")
    prior = Prior.load(scenes.models("prior"))
    (text,) = draw_z(prior, prior.encode(["a red circle"]), ("subject",), range(1))
    z = z_from_text(text)
    assert list(z) == ["subject"]
    assert z_from_text(z_to_text(z)) == z


def test_the_detector_finds_its_box(site, scenes, invoke):
    module, groups = example("kaleido_middle")
    site.install("kaleido-middle", groups, kaleido_middle=module)
    invoke("extract", "boxes", "--model", "middle")
    (side, _) = next(iter(make_records(1, seed=3))).pixels.shape[:2]
    low, high = round(16_000 / side), round(48_000 / side)
    assert [latent.items for latent in latents(scenes, "boxes")] == [
        (Box("thing", low, low, high, high),)
    ] * 4


@pytest.mark.parametrize("name", ["kaleido_subject", "kaleido_middle"])
def test_the_examples_have_six_lines(name):
    module, _ = example(name)
    classes = [node for node in ast.parse(module).body if isinstance(node, ast.ClassDef)]
    lines = module.splitlines()[classes[0].lineno - 1 : classes[-1].end_lineno]
    assert len([line for line in lines if line.strip()]) <= 6
