from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kaleido_diffusion import KaleidoPipeline
from pipelines.core.errors import KaleidoError
from pipelines.sample.draw import draw
from pipelines.sample.speed import hastened
from pipelines.workspace.settings import SampleSettings

PLAIN = SampleSettings(n=2, steps=4, cfg=3.0)
CAPTION = "two circles and a star"


def pixels(bundle, *speed: str) -> np.ndarray:
    settings = replace(PLAIN, speed=speed)
    return np.stack([each.pixels for each in draw(bundle, CAPTION, settings)]).astype(int)


@pytest.mark.parametrize(("way", "apart"), [("channels-last", 0.01), ("bf16", 3.0)])
def test_a_way_changes_rounding_alone_and_leaves_the_model_as_it_was(bundle, way, apart):
    before = pixels(bundle)
    found = pixels(bundle, way)
    assert np.abs(found - before).mean() <= apart
    if way == "bf16":
        assert (found != before).any()
    np.testing.assert_array_equal(pixels(bundle), before)


def test_weights_are_laid_out_and_can_still_be_trained(bundle):
    model = bundle.diffusion
    kernel = model.denoiser.pixel_encoder.first.weight
    with torch.inference_mode():
        hastened(model, ["channels-last"])
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert not kernel.is_contiguous()
    kernel.sum().backward()
    kernel.grad = None
    assert hastened(model, []) is model
    assert kernel.is_contiguous()


def test_compiled_passes_are_those_of_the_model(bundle, monkeypatch):
    made = []

    def compile(network):
        made.append(network)
        return lambda *inputs: network(*inputs)

    monkeypatch.setattr(torch, "compile", compile)
    before = pixels(bundle)
    np.testing.assert_array_equal(pixels(bundle, "compile"), before)
    pixels(bundle, "compile")
    assert made == [bundle.diffusion.denoiser]


def test_the_command_and_the_pipeline_take_what_was_chosen(invoke, bundle, tmp_path):
    flags = ("--n", "1", "--steps", "1", "--speed", "channels-last")
    invoke("sample", CAPTION, *flags, "--out", str(tmp_path / "out"))
    (line,) = (tmp_path / "out" / "samples.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["settings"]["speed"] == ["channels-last"]
    said = invoke("sample", CAPTION, "--speed", "warp", "--out", str(tmp_path / "no"), code=1)
    assert "speed" in said.err and not (tmp_path / "no").exists()
    pipe = KaleidoPipeline.from_bundle(bundle)
    assert pipe(CAPTION, num_inference_steps=1, speed=["bf16"]).images
    with pytest.raises(KaleidoError):
        pipe(CAPTION, num_inference_steps=1, speed=["warp"])
