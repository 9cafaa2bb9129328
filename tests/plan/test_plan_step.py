from __future__ import annotations

import json

import diffusers
import numpy as np
import torch

from kaleido_diffusion import KaleidoPlanStep
from pipelines.documents.document import Document
from tests.bases.tiny_pipelines import build

CAPTION = "two circles and a star"


def test_a_modular_pipeline_draws_one_picture_of_each_z():
    tiny = build("z-image")
    blocks = diffusers.ZImageAutoBlocks()
    blocks.sub_blocks.insert("plan", KaleidoPlanStep(), 0)
    pipe = blocks.init_pipeline()
    parts = {name: part for name, part in tiny.components.items() if name in pipe.component_names}
    pipe.update_components(**parts)
    pipe.set_progress_bar_config(disable=True)
    state = pipe(
        prompt=CAPTION,
        num_plans=3,
        plan_seed=5,
        height=64,
        width=64,
        num_inference_steps=2,
        max_sequence_length=512,
        output_type="np",
        generator=torch.Generator().manual_seed(1),
    )
    assert np.asarray(state.get("images")).shape == (3, 64, 64, 3)
    prompts = state.get("prompt")
    # Z-Image's block writes its chat template into the list that it is given.
    assert len(set(prompts)) == 3 and all(f"{CAPTION}. " in each for each in prompts)
    assert [document.key for document in state.get("z")] == ["plan-0000", "plan-0001", "plan-0002"]


class Fixed:
    """A planner that always has the same plan."""

    identity = "fixed"

    def plan(self, caption, count, seed):
        return [
            Document(key=f"plan-{n:04d}", caption=caption, background="snow") for n in range(count)
        ]


def test_z_is_written_in_the_dialect_of_the_model():
    step = KaleidoPlanStep(Fixed(), dialect="ideogram4")
    state = step.init_pipeline()(prompt="a fox", num_plans=2)
    first, second = map(json.loads, state.get("prompt"))
    assert first == second
    assert first["high_level_description"] == "a fox"
    assert first["compositional_deconstruction"]["background"] == "snow"
