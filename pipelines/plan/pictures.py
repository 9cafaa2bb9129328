"""Pictures of a varied choice of z: plans are chosen first, and only those are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.batches import in_batches
from pipelines.core.progress import SILENT, Progress
from pipelines.plan.plan import Gain, Plan, plan_each, require_pool
from pipelines.sample.bundle import Bundle
from pipelines.sample.captions import captions_to_draw
from pipelines.sample.control import UNCONTROLLED, Control
from pipelines.sample.draw import captions_together
from pipelines.sample.engine import bundles_of, running
from pipelines.sample.jobs import name_of
from pipelines.sample.requests import ZRequest
from pipelines.sample.run import SampleSummary, open_controlled, sample_requests
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Choice:
    """The z that were chosen for one caption.

    Attributes:
        caption: The caption.
        indices: Their numbers in the pool, in the order in which they were chosen.
        gain: What the choice gained and cost.
    """

    caption: str
    indices: list[int]
    gain: Gain


@dataclass(frozen=True)
class DiverseSummary(SampleSummary):
    """The outcome of `sample_diverse`.

    Attributes:
        choices: One a caption.
    """

    choices: list[Choice]


def sample_diverse(
    workspace: Workspace,
    captions: Sequence[str] | None,
    pool: int,
    name: str | Path | None = None,
    z_kinds: Sequence[str] | None = None,
    progress: Progress = SILENT,
    control: Control = UNCONTROLLED,
) -> DiverseSummary:
    """Draw `pool` z for each caption, choose those that differ most, and draw their pictures.

    Picture and z are those of `pipelines.sample.run.sample` with n = `pool`: each z keeps the noise
    of its own number, which ``samples.jsonl`` lists as ``index``.

    Args:
        workspace: Its ``[sample]`` settings say how many to choose (``n``), and how to draw.
        captions: The captions; None takes held-out captions of the workspace's data.
        pool: How many z to choose from, at least ``n``.
        name: As for `pipelines.sample.run.sample`.
        z_kinds: Kinds of z to draw; None for the model's usual ones.
        progress: Receives messages and progress.
        control: What z must hold.

    Raises:
        InputMissing: If there is no caption.
        KaleidoError: If the pool is too small, `name` is taken, or a kind does not fit the model.
    """
    settings = workspace.settings.sample
    require_pool(pool, settings.n)
    asked = captions_to_draw(workspace, captions, progress)
    bundle, control = open_controlled(workspace, False, z_kinds, control, progress)
    requests: list[ZRequest] = []
    choices: list[Choice] = []
    with running(workspace, *bundles_of([bundle])) as run:
        jobs = (
            PlanCaptions(bundle.name, tuple(group), settings, pool, control)
            for group in in_batches(asked, captions_together(pool))
        )
        with progress.task("plans", len(asked), "caption") as advance:
            for caption, (plans, gain) in zip(asked, run(jobs), strict=True):
                requests += [ZRequest(caption, each.z, each.index) for each in plans]
                choices.append(Choice(caption, [each.index for each in plans], gain))
                advance(1)
        drawn = sample_requests(
            workspace, bundle, requests, settings, name, asked[0], run, progress
        )
    return DiverseSummary(**vars(drawn), choices=choices)


@dataclass(frozen=True)
class PlanCaptions:
    """A `pipelines.sample.engine.Job` that draws and chooses z.

    Attributes:
        model: Name of the bundle.
        captions: As many as fill a group of z.
        settings: How, and how many.
        pool: How many to choose from.
        control: What z must hold.
    """

    model: str
    captions: tuple[str, ...]
    settings: SampleSettings
    pool: int
    control: Control

    @property
    def name(self) -> str:
        """The first caption."""
        return name_of(self.captions[0])

    def run(self, tools: Mapping[str, Any]) -> Iterator[tuple[list[Plan], Gain | None]]:
        """Yield the plans of each caption, see `plan_each`."""
        bundle: Bundle = tools[self.model]
        yield from plan_each(
            bundle.prior, self.captions, bundle.z_kinds, self.settings, self.pool, self.control
        )
