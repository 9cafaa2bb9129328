"""The trials of training, in miniature: joint against staged, and the ablation."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from pipelines.core.progress import SILENT
from recipes import ablate_denoiser, compare_joint
from recipes.trial import KINDS, Trial, new_models, prepare, run_all


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> Trial:
    """Two steps on 24 scenes, two captions."""
    folder = tmp_path_factory.mktemp("trial") / "workspace"
    return prepare(argparse.Namespace(workspace=folder, scenes=24, captions=2, n=2, steps=2))


def test_joint_training_is_compared_with_staged(trial):
    arms = ["staged", "joint, η = 1", "staged, then joint"]
    text = run_all(trial, arms, [0], compare_joint.trained)
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in text.splitlines()[2:]}
    assert len(rows["| staged"]) == 6
    results = sorted((trial.workspace.root / "results").iterdir())
    found = [json.loads(path.read_text("utf-8")) for path in results]
    assert len({tuple(each["nats"]) for each in found}) == 3  # joint training changes the prior
    before = {path: path.stat().st_mtime_ns for path in trial.workspace.root.rglob("*.json")}
    assert run_all(trial, arms, [0], lambda *_: pytest.fail("measured again")) == text
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_what_is_left_out_has_no_effect(trial):
    models = {arm: ablate_denoiser.trained(trial, arm, 3, SILENT) for arm in ablate_denoiser.ARMS}
    projections = {
        arm: each.diffusion.denoiser.layout_projection.weight for arm, each in models.items()
    }
    assert not projections[ablate_denoiser.MAP].any()
    assert projections["complete"].any()
    assert models[ablate_denoiser.NO_Z].diffusion.z_kinds == ()
    start = new_models(trial, 3, KINDS)
    naming = [each.diffusion.denoiser.naming[1].weight for each in models.values()]
    unchanged = [torch.equal(each, start.diffusion.denoiser.naming[1].weight) for each in naming]
    assert unchanged == [False, False, False, True, True, False]
    records = start.stream.batch(0, 2)
    texts = ["<boxes> <;> star <100> <100> <400> <400>", "<boxes> <;> star <500> <500> <900> <900>"]
    z = start.prior.read_z(texts)
    with torch.no_grad():
        caption = start.prior.encode([records[0].caption] * 2)
        states = start.prior.z_states(caption, z)
        placeless = models[ablate_denoiser.PLACES].diffusion.context(caption, states)
        placed = models["complete"].diffusion.context(caption, states)
    assert (placeless.rects == torch.tensor([0.0, 0.0, 1.0, 1.0])).all()
    assert not placeless.names.any() and placed.names.any()
