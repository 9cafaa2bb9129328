"""Folders that older versions wrote are read, and draw the pictures that they drew.

``saved/models-0.1.0.tar.xz`` holds a prior and a diffusion model of 16 pixels, untrained, in bf16,
saved by commit a24958b (version 0.1.0), with a z and the picture that this version drew of it for
"a red circle" in 4 steps at CFG 3, seed 0. ``saved/pipeline-before-schedulers.tar.xz`` is a folder
of `KaleidoPipeline.save_pretrained` at commit 36d1684, with the same.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from kaleido_diffusion import KaleidoPipeline
from pipelines.models.diffusion import Diffusion
from pipelines.models.prior import Prior
from pipelines.sample.bundle import pair
from pipelines.sample.draw import draw_from_z
from pipelines.workspace.settings import SampleSettings

SAVED = Path(__file__).parent / "saved"
CAPTION = "a red circle"
SETTINGS = SampleSettings(n=1, cfg=3.0, steps=4)


@pytest.fixture
def unpack(tmp_path):
    """Return a function that unpacks one of `SAVED`: folder, z and expected picture."""

    def run(name: str) -> tuple[Path, str, np.ndarray]:
        with tarfile.open(SAVED / f"{name}.tar.xz") as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                target = tmp_path / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(tar.extractfile(member).read())
        expected = np.load(tmp_path / "expected.npy")
        return tmp_path, (tmp_path / "z.txt").read_text("utf-8"), expected

    return run


def _load(folder):
    prior, diffusion = Prior.load(folder / "prior"), Diffusion.load(folder / "diffusion")
    return pair(prior, diffusion, "test", folder.joinpath)


def test_models_of_the_first_release_draw_what_they_drew(unpack):
    folder, z, expected = unpack("models-0.1.0")
    bundle = _load(folder)
    [sample] = draw_from_z(bundle, CAPTION, [z], SETTINGS)
    assert sample.z.replace(" ", "") == z.replace(" ", "")
    assert np.abs(sample.pixels.astype(int) - expected).max() <= 1
    assert expected.std() > 10


def test_a_pipeline_without_a_scheduler_draws_what_it_drew(unpack):
    folder, z, expected = unpack("pipeline-before-schedulers")
    assert not (folder / "pipeline" / "scheduler").exists()
    pipe = KaleidoPipeline.from_pretrained(folder / "pipeline")
    assert type(pipe.scheduler).__name__ == "FlowMatchEulerDiscreteScheduler"
    bundle = _load(folder / "pipeline")
    [sample] = draw_from_z(bundle, CAPTION, [z], SETTINGS)
    assert np.abs(sample.pixels.astype(int) - expected).max() <= 1
    images = pipe(CAPTION, num_inference_steps=2, z=[z], output_type="np").images
    assert images.shape == (1, 16, 16, 3)
    pipe.save_pretrained(folder / "again")
    assert (folder / "again" / "scheduler" / "scheduler_config.json").is_file()
