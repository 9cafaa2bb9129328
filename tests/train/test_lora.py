"""A pretrained prior that learns by adapters: it resumes, and the plan tells what it needs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import T5Config

from pipelines.core.progress import SILENT
from pipelines.models.prior import Prior
from pipelines.train.footprint import Z_TOKENS, prior_footprint, saved_bytes
from pipelines.train.noise import Noise
from pipelines.train.prior import train_prior
from pipelines.train.prior_task import Batch, PriorTask
from pipelines.train.stream import RecordStream
from pipelines.train.untrained_prior import new_prior
from pipelines.workspace.config import override
from pipelines.workspace.presets import PRESETS
from pipelines.workspace.workspace import Workspace
from tests.train.conftest import adapt
from tests.train.stopper import Stopper

pytest.importorskip("peft", reason="the extra lora is not installed")


@pytest.fixture
def adapted(trained, tmp_path) -> Workspace:
    """Settings to adapt a pretrained prior: the trained one, whose head is its embeddings."""
    source = tmp_path / "t5"
    Prior.load(trained.models("prior")).save(source)
    return adapt(trained, prior__pretrained=str(source), prior__lora_rank=4)


def test_a_run_with_adapters_resumes_and_saves_a_plain_prior(
    adapted, tmp_path, monkeypatch
) -> None:
    train_prior(adapted, restart=True)
    whole = Prior.load(adapted.models("prior")).model.state_dict()
    again = replace(adapted, root=tmp_path / "again")
    shutil.copytree(adapted.root, again.root, ignore=shutil.ignore_patterns("logs"))
    monkeypatch.setattr("pipelines.train.loop.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train_prior(again, progress=Stopper(5))
    assert train_prior(again).resumed_at == 5
    resumed = Prior.load(again.models("prior")).model.state_dict()
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    base = Prior.load(Path(adapted.settings.prior.pretrained)).model.state_dict()
    changed = {name for name, value in whole.items() if not torch.equal(value, base[name])}
    assert any(name.startswith("decoder.block.0.layer.0.SelfAttention.q") for name in changed)
    assert not any(name.startswith("encoder.block") for name in changed)
    kept = adapted.logs / "prior" / "checkpoint" / "model.safetensors"
    assert kept.stat().st_size < (adapted.models("prior") / "model.safetensors").stat().st_size


def test_the_plan_is_within_a_tenth_of_what_a_run_holds(adapted) -> None:
    for workspace in (adapted, adapt(adapted, prior__lora_rank=0, prior__pretrained="")):
        plan, settings = prior_footprint(workspace), workspace.settings.prior
        stream = RecordStream(workspace, ("palette",), settings.seed, images=False)
        prior = new_prior(settings, stream, SILENT)
        task = PriorTask(prior, stream, settings.seed)
        captions = torch.ones(settings.batch_size, settings.max_caption_tokens, dtype=torch.long)
        z = torch.ones(settings.batch_size, Z_TOKENS, dtype=torch.long)
        batch = Batch(captions, captions.bool(), z, z.bool(), dropout=True)
        activations = saved_bytes(lambda: task.loss(batch, Noise(0, "test", range(8))))  # noqa: B023
        task.loss(batch, Noise(0, "test", range(8))).backward()
        learned = [value for value in prior.model.parameters() if value.requires_grad]
        optimizer = torch.optim.AdamW(learned)
        optimizer.step()
        moments = sum(
            value.nbytes for state in optimizer.state.values() for value in state.values()
        )
        held = sum(value.nbytes for value in prior.model.parameters())
        gradients = sum(value.grad.nbytes for value in learned if value.grad is not None)
        average = sum(value.nbytes for value in learned)
        measured = held + gradients + moments + average + activations
        assert plan.memory_needed == pytest.approx(measured, rel=0.1)


def test_the_preset_for_one_small_gpu_fits_it(trained, tmp_path) -> None:
    """flan-T5-XL by its published sizes, on the meta device."""
    folder = tmp_path / "flan-t5-xl"
    Prior.load(trained.models("prior")).save(folder)
    (folder / "model.safetensors").unlink()
    config = T5Config(
        vocab_size=32_128,
        d_model=2048,
        d_kv=64,
        d_ff=5120,
        num_layers=24,
        num_heads=32,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    values = json.loads(config.to_json_string(use_diff=False))
    values["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(values))
    preset = {**PRESETS["lora"].settings, "prior.pretrained": str(folder)}
    settings = override(trained.settings, {"prior.batch_size": 64, **preset})
    plan = prior_footprint(replace(trained, settings=settings))
    assert 2.7e9 < plan.parameters < 3.0e9
    assert plan.trainable < 0.06 * plan.parameters
    assert 12e9 < plan.memory_needed <= 24e9, plan.memory
    whole = override(settings, {"prior.lora_rank": 0})
    assert prior_footprint(replace(trained, settings=whole)).memory_needed > 36e9


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_of_valid_settings(trained, name) -> None:
    changed = override(trained.settings, PRESETS[name].settings)
    assert changed != trained.settings


def test_a_preset_stands_below_flags(trained, invoke) -> None:
    flags = ["--preset", "tiny", "--z", "palette", "--dry-run", "--json", "-w", str(trained.root)]
    assert json.loads(invoke("train", "prior", *flags).out)["steps"] == 300
    assert json.loads(invoke("train", "prior", "--steps", "7", *flags).out)["steps"] == 7
    flags[1] = "tinny"
    assert "tiny" in invoke("train", "prior", *flags, code=1).err
