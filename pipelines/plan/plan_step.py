"""The planning step as a block of diffusers' modular pipelines, in which new models come."""

from __future__ import annotations

from typing import Any

from diffusers.modular_pipelines import (
    InputParam,
    ModularPipelineBlocks,
    OutputParam,
    PipelineState,
)

from pipelines.bases.prompt import json_prompt
from pipelines.documents.document import Document
from pipelines.documents.words import sentences
from pipelines.plan.planners.base import Planner
from pipelines.plan.planners.prior import PriorPlanner
from pipelines.plan.run import open_prior
from pipelines.workspace.settings import SampleSettings


class KaleidoPlanStep(ModularPipelineBlocks):
    """Draws z of a prompt and hands on one prompt per z.

    ``blocks.sub_blocks.insert("plan", KaleidoPlanStep(), 0)`` puts it in front of the blocks of any
    text-to-image model.

    Args:
        planner: What draws z; None takes the embedded prior, which knows simple shapes.
        dialect: How z is written: ``words``, ``ideogram4`` or ``fibo``.
    """

    model_name = None

    def __init__(self, planner: Planner | None = None, dialect: str = "words") -> None:
        super().__init__()
        self._planner, self._dialect = planner, dialect

    @property
    def description(self) -> str:
        """What the block does."""
        return "Draws several different z for a prompt, and writes each as a prompt of its own."

    @property
    def inputs(self) -> list[Any]:
        """The inputs of the block."""
        return [
            InputParam("prompt", required=True, type_hint=str, description="The caption."),
            InputParam("num_plans", default=4, type_hint=int, description="Number of z."),
            InputParam("plan_seed", default=0, type_hint=int, description="Seed of z."),
        ]

    @property
    def intermediate_outputs(self) -> list[Any]:
        """What later blocks find."""
        return [
            OutputParam("prompt", type_hint=list, description="One prompt per z."),
            OutputParam("z", type_hint=list, description="The z, as documents."),
        ]

    def __call__(self, components: Any, state: PipelineState) -> tuple[Any, PipelineState]:
        """Replace the prompt by one prompt per z."""
        block = self.get_block_state(state)
        if self._planner is None:
            self._planner = _embedded_planner()
        block.z = self._planner.plan(block.prompt, block.num_plans, block.plan_seed)
        block.prompt = [self._write(document) for document in block.z]
        self.set_block_state(state, block)
        return components, state

    def _write(self, document: Document) -> str:
        if self._dialect == "words":
            return ". ".join(sentences(document))
        return json_prompt(document, self._dialect)[0]


def _embedded_planner() -> Planner:
    prior, kinds, _ = open_prior(None)
    return PriorPlanner(prior, kinds, SampleSettings())
