"""`kaleido demo`: the whole chain in miniature, with the time of each step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic
from typing import Any

from pipelines.core.progress import SILENT, Progress
from pipelines.core.unfinished import is_abandoned, unfinished
from pipelines.embedded.paths import ships
from pipelines.evaluate.run import evaluate
from pipelines.extract.run import extract
from pipelines.extract.stages import READY
from pipelines.protocols import choose_protocol
from pipelines.scenes.generate import write_scenes
from pipelines.train.diffusion import train_diffusion
from pipelines.train.prior import train_prior
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace

SCENES = 400
SETTINGS = {
    "prior.steps": 60,
    "prior.batch_size": 32,
    "prior.warmup": 10,
    "diffusion.steps": 30,
    "diffusion.batch_size": 16,
    "diffusion.warmup": 5,
    "evaluate.captions": 4,
    "evaluate.n": 8,
    "evaluate.steps": 20,
    "evaluate.seeds": (0,),
}


@dataclass
class DemoSummary:
    """What the demo did.

    Attributes:
        workspace: Where everything lies.
        report: The HTML report.
        seconds: Step -> time taken.
    """

    workspace: Path
    report: Path
    seconds: dict[str, float] = field(default_factory=dict)


def demo(
    path: Path, progress: Progress = SILENT, changes: Mapping[str, Any] | None = None
) -> DemoSummary:
    """Draw scenes, extract, train briefly, then compare the embedded models.

    If this version ships none, the models just trained are compared, and the report says that they
    were trained too briefly. A demo that was stopped or killed goes on.

    Args:
        path: A new folder for the workspace, or that of a stopped demo.
        progress: Listener.
        changes: Settings that differ from the demo's own, ``section.key`` to value.

    Raises:
        KaleidoError: If `path` is a workspace already, or an extra is not installed.
    """
    settings = override(Settings(), SETTINGS | dict(changes or {}))
    workspace = Workspace.find(explicit=path) if is_abandoned(path) else Workspace.init(path)
    with unfinished(workspace.root, keep=True):
        return _run(replace(workspace, settings=settings), progress)


def _run(workspace: Workspace, progress: Progress) -> DemoSummary:
    seconds: dict[str, float] = {}

    @contextmanager
    def step(name: str, text: str) -> Iterator[None]:
        progress.message(text)
        began = monotonic()
        yield
        seconds[name] = round(monotonic() - began, 1)
        progress.message(f"  {name}: {seconds[name]:.0f} s")

    with step("data", f"1 of 4: draw {SCENES} captioned scenes."):
        write_scenes(workspace, SCENES, seed=1, progress=progress)
    with step("extract", "2 of 4: extract boxes, blobs and palettes from the pixels."):
        extract(workspace, READY, progress=progress)
    with step("train", "3 of 4: train the models for a few steps, to show how it works."):
        train_prior(workspace, progress=progress)
        train_diffusion(workspace, progress=progress)
        train_diffusion(workspace, baseline=True, progress=progress)
    embedded = ships("prior", "diffusion", "baseline")
    which = "embedded models" if embedded else "models just trained, though too briefly,"
    with step("evaluate", f"4 of 4: compare the {which} with their baseline; this takes longest."):
        protocol = choose_protocol(workspace, embedded)
        summary = evaluate(workspace, protocol, embedded=embedded, name="demo", progress=progress)
    return DemoSummary(workspace.root, summary.report, seconds)
