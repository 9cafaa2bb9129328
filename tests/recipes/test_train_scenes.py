"""The recipe of the scenes' models, in miniature, up to what it ships."""

from __future__ import annotations

import pytest

from pipelines.core.progress import SILENT
from pipelines.embedded import paths
from pipelines.latents.text import SHIPPED_KINDS
from pipelines.models.diffusion import Diffusion
from pipelines.models.metadata import captioner_metadata, tokenizer_metadata
from pipelines.models.prior import Prior
from pipelines.workspace.manifest import read_manifest
from recipes import train_captioner, train_scenes

TINY = {
    "prior.z_kinds": SHIPPED_KINDS,
    "prior.d_model": 32,
    "prior.d_ff": 32,
    "prior.layers": 1,
    "prior.heads": 2,
    "prior.vocab_size": 1500,
    "prior.steps": 2,
    "prior.batch_size": 4,
    "tokenizer.channels": (8, 16),
    "tokenizer.codebook_size": 16,
    "tokenizer.steps": 2,
    "tokenizer.decoder_steps": 2,
    "tokenizer.batch_size": 4,
    "diffusion.z_kinds": SHIPPED_KINDS,
    "diffusion.layers": 1,
    "diffusion.heads": 2,
    "diffusion.head_dim": 8,
    "diffusion.pixel_channels": 8,
    "diffusion.steps": 2,
    "diffusion.batch_size": 4,
}


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Return an empty place for shipped models, the detector's apart, and make the recipe small."""
    root = tmp_path / "shipped"
    root.mkdir()
    (root / "detector").symlink_to(paths.embedded_path("detector"))
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(train_scenes, "ROOT", root)
    for name, value in {"SCENES": 16, "BASELINE_STEPS": 3, "SETTINGS": TINY}.items():
        monkeypatch.setattr(train_scenes, name, value)
    for name, value in {"BATCH": 4, "IMAGES": 8, "HELD_OUT": 4, "VOCABULARY_SCENES": 50}.items():
        monkeypatch.setattr(train_captioner, name, value)
    return root


def test_every_step_finds_what_it_needs_and_the_shipped_models_belong_together(shipped, tmp_path):
    workspace = train_scenes._workspace(tmp_path / "workspace")
    assert train_scenes.STEPS[-1] == "measure"
    for step in train_scenes.STEPS[:-1]:
        train_scenes._run(step, workspace, 1, "", SILENT)
    made = {kind: read_manifest(workspace.latents(kind) / "000000.tar") for kind in SHIPPED_KINDS}
    captioner = captioner_metadata(shipped / "captioner")["identity"]
    assert made["description"].options["captioner"] == captioner
    own = tokenizer_metadata(workspace.models("tokenizer"))["identity"]
    assert made["tokens"].options["tokenizer"] == own
    prior = Prior.load(shipped / "prior")
    assert prior.codebook == tokenizer_metadata(shipped / "tokenizer")["identity"] != own
    for name, kinds in (("diffusion", prior.z_kinds), ("baseline", ())):
        model = Diffusion.load(shipped / name)
        assert (model.prior, model.z_kinds) == (prior.identity, kinds)


def test_a_finished_captioner_is_not_trained_again(shipped, tmp_path, monkeypatch):
    workspace = train_scenes._workspace(tmp_path / "workspace")
    train_scenes._run("captioner", workspace, 1, "", SILENT)
    before = (shipped / "captioner" / "kaleido.json").read_bytes()
    monkeypatch.delattr(train_captioner.CaptionerTask, "loss")
    train_scenes._run("captioner", workspace, 1, "", SILENT)
    assert (shipped / "captioner" / "kaleido.json").read_bytes() == before
