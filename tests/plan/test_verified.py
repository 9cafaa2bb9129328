"""Pictures that do not show what is required are drawn again, with seeds that draw them alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import KaleidoError
from pipelines.extract.detectors.base import Detections
from pipelines.latents.vocabulary import train_tokenizer
from pipelines.models.diffusion import build_diffusion
from pipelines.models.new_prior import build_prior
from pipelines.plan.verified import FINDER, DrawVerified, _Finder, sample_verified
from pipelines.sample.bundle import Bundle
from pipelines.sample.control import Control
from pipelines.sample.draw import Sample
from pipelines.sample.requirements import read_requirements
from pipelines.workspace.settings import DiffusionSettings, PriorSettings, SampleSettings

CAPTION, KINDS = "a star", ("boxes",)
SETTINGS = SampleSettings(n=3, steps=1, z_candidates=2, seed=4)
CONTROL = Control(read_requirements(["star"], []))


@pytest.fixture(scope="module")
def bundle():
    torch.manual_seed(0)
    settings = PriorSettings(d_model=32, d_ff=32, layers=1, heads=2, z_kinds=KINDS)
    prior = build_prior(settings, train_tokenizer([CAPTION] * 200, 1300), ("circle", "star"))
    sizes = DiffusionSettings(image_size=16, layers=1, heads=2, head_dim=8, patch_size=4)
    diffusion = build_diffusion(sizes, prior, KINDS)
    torch.nn.init.normal_(diffusion.denoiser.proj_out.out.weight, std=0.3)
    prior.model.eval()
    return Bundle(prior, diffusion.eval(), "kaleido", "workspace")


def test_only_pictures_that_lack_something_are_drawn_again(bundle):
    asked = []
    verdicts = iter([[True, False, False], [True, False], [False]])

    def finder(samples):
        asked.append([each.index for each in samples])
        return next(verdicts)

    job = DrawVerified("kaleido", CAPTION, SETTINGS, CONTROL, 2)
    tried = list(job.run({"kaleido": bundle, FINDER: finder}))
    found = [each for each, _ in tried]
    assert asked == [[0, 1, 2], [1, 2], [2]]
    assert [(each.index, each.redrawn) for each in found] == [(0, 0), (1, 1), (2, 2)]
    assert [is_found for _, is_found in tried] == [True, True, False]
    # The seeds that a redrawn sample is listed with draw it at once.
    again = replace(SETTINGS, z_seed=1, noise_seed=1)
    tools = {"kaleido": bundle, FINDER: lambda samples: [True] * len(samples)}
    alone = list(DrawVerified("kaleido", CAPTION, again, CONTROL, 0).run(tools))
    assert alone[1][0].z == found[1].z and (alone[1][0].pixels == found[1].pixels).all()


class Finds:
    """A detector that finds one object, the same in every picture."""

    def __init__(self, label, box):
        self._label, self._box = label, box

    def setup(self):
        pass

    def find(self, records):
        box, score = np.float32([self._box]), np.ones(1, np.float32)
        if not self._label:
            return [Detections(box[:0], score[:0], ()) for _ in records]
        return [Detections(box, score, (self._label,)) for _ in records]


@pytest.mark.parametrize(
    ("require", "forbid", "label", "box", "shown"),
    [
        (["star@left"], [], "star", (0, 4, 4, 8), True),
        (["star@left"], [], "star", (10, 4, 16, 8), False),
        (["star@left"], [], "circle", (0, 4, 4, 8), False),
        (["star.colour=red"], [], "star", (0, 0, 16, 16), True),
        (["star.colour=blue"], [], "star", (0, 0, 16, 16), False),
        ([], ["red"], "star", (0, 0, 16, 16), False),
        ([], ["blue", "circle"], "star", (0, 0, 16, 16), True),
        (["star"], [], "", (0, 0, 1, 1), False),
        (["star.count=0"], [], "", (0, 0, 1, 1), True),
    ],
)
def test_a_picture_shows_objects_places_and_colours(require, forbid, label, box, shown):
    red = np.full((16, 16, 3), (224, 32, 32), np.uint8)
    finder = _Finder(Finds(label, box), read_requirements(require, forbid))
    assert finder([Sample(CAPTION, 0, "", red)]) == [shown]


def test_without_a_requirement_there_is_nothing_to_look_for(workspace):
    with pytest.raises(KaleidoError) as caught:
        sample_verified(workspace, [CAPTION], Control(), 1)
    assert caught.value.code == "bad-option"
