"""Pictures in which a detector finds what was required: others are drawn again, a few times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError
from pipelines.core.images import encode_png
from pipelines.core.progress import SILENT, Progress
from pipelines.core.record import Record
from pipelines.core.stage import Failed
from pipelines.extract.boxes import to_boxes
from pipelines.extract.colours import to_colours
from pipelines.extract.context import StageContext
from pipelines.extract.detection import Detector
from pipelines.extract.detectors.base import Detections
from pipelines.extract.palette import find_palette
from pipelines.latents.base import Latent
from pipelines.latents.grammar.required import Required
from pipelines.sample.captions import captions_to_draw
from pipelines.sample.control import Control
from pipelines.sample.draw import Sample, draw_some
from pipelines.sample.engine import bundles_of, require_same, running
from pipelines.sample.jobs import name_of
from pipelines.sample.requirements import Requirements, broken
from pipelines.sample.run import (
    SampleGroup,
    SampleSummary,
    open_controlled,
    write_groups,
)
from pipelines.workspace.settings import SampleSettings
from pipelines.workspace.workspace import Workspace

FINDER = "finder"
"""Name of the tool that looks at pictures."""

COLOURS = 6
"""Colours of a picture among which a barred one is looked for."""


@dataclass(frozen=True)
class VerifiedSummary(SampleSummary):
    """The outcome of `sample_verified`.

    Attributes:
        at_once: Pictures in which the detector found all at the first try.
        verified: Pictures in which it did in the end.
        tries: Pictures that were drawn, those not kept included.
    """

    at_once: int
    verified: int
    tries: int


def sample_verified(
    workspace: Workspace,
    captions: Sequence[str] | None,
    control: Control,
    redraws: int,
    name: str | Path | None = None,
    z_kinds: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> VerifiedSummary:
    """Draw samples, look at them with the workspace's detector, and draw again what is not there.

    A picture that is drawn for the k-th time has the z and the noise of seeds k higher, which
    ``samples.jsonl`` lists, so it can be drawn alone. What is not found after the last try is kept
    as it is and counted. Pictures that were drawn again are not independent of the detector: it
    decides which ones are seen.

    Args:
        workspace: Its ``[extract]`` settings name the detector, its ``[sample]`` settings say how
            to draw.
        captions: The captions; None takes held-out captions of the workspace's data.
        control: What z and picture must hold.
        redraws: How often a picture may be drawn again.
        name: As for `pipelines.sample.run.sample`.
        z_kinds: Kinds of z to draw; None for the model's usual ones.
        progress: Receives messages and progress.

    Raises:
        KaleidoError: If nothing is required that can be seen, there is no detector, or z cannot
            hold what is asked.
    """
    if not control.wanted:
        raise KaleidoError(
            "--verify",
            "nothing is required, so there is nothing to look for.",
            "Say what, with --require or --forbid.",
            code="bad-option",
        )
    settings, asked = workspace.settings.sample, captions_to_draw(workspace, captions, progress)
    bundle, control = open_controlled(workspace, False, z_kinds, control, progress)
    detector = _detector(workspace, bundle.source)
    here, elsewhere = bundles_of([bundle])
    here[FINDER] = _Finder(detector, control.wanted)
    elsewhere[FINDER] = SameFinder(bundle.source, control.wanted, detector.options)
    jobs = (DrawVerified(bundle.name, each, settings, control, redraws) for each in asked)
    tried: list[tuple[int, bool]] = []
    with running(workspace, here, elsewhere) as run:
        shown = _noting(run(jobs), tried)
        groups = [SampleGroup(caption, settings.n, shown) for caption in asked]
        drawn = write_groups(workspace, bundle, groups, settings, name, asked[0], progress)
    return VerifiedSummary(
        **vars(drawn),
        at_once=sum(found and number == 0 for number, found in tried),
        verified=sum(found for _, found in tried),
        tries=sum(number + 1 for number, _ in tried),
    )


class _Finder:
    """Tells whether a picture shows what is required."""

    def __init__(self, detector: Detector, wanted: Requirements) -> None:
        detector.setup()
        self._detector, self._wanted = detector, wanted

    def __call__(self, samples: Sequence[Sample]) -> list[bool]:
        records = [Record("sample", encode_png(each.pixels), each.caption) for each in samples]
        found = self._detector.find(records)
        return [
            not isinstance(objects, Failed) and self._shows(objects, each)
            for objects, each in zip(found, samples, strict=True)
        ]

    def _shows(self, found: Detections, sample: Sample) -> bool:
        seen: dict[str, Latent] = {}
        if found.labels:
            seen["boxes"] = to_boxes(found, sample.pixels.shape)
            seen["colours"] = to_colours(found, sample.pixels)
        elif self._wanted.objects != Required() and not self._wanted.objects.holds((), ()):
            return False
        if self._wanted.barred:
            seen["palette"] = find_palette(sample.pixels, COLOURS)
        return not broken(self._wanted, seen)


@dataclass(frozen=True)
class SameFinder:
    """Loads a finder on another machine.

    Attributes:
        source: Of the models that draw.
        wanted: What is required.
        options: Of the driver's detector.
    """

    source: str
    wanted: Requirements
    options: Mapping[str, Any]

    def load(self, workspace: Workspace) -> _Finder:
        """Load it.

        Raises:
            KaleidoError: If there is no detector, or another one than the driver's.
        """
        detector = _detector(workspace, self.source)
        require_same("detectors", detector.options, self.options)
        return _Finder(detector, self.wanted)


@dataclass(frozen=True)
class DrawVerified:
    """Draws a caption's samples; those that do not show all are drawn again, together.

    Attributes:
        model: Name of the bundle.
        caption: The caption.
        settings: How to draw.
        control: What z and picture must hold.
        redraws: How often a picture may be drawn again.
    """

    model: str
    caption: str
    settings: SampleSettings
    control: Control
    redraws: int

    @property
    def name(self) -> str:
        """The caption."""
        return name_of(self.caption)

    def run(self, tools: Mapping[str, Any]) -> Iterator[tuple[Sample, bool]]:
        """Yield ``settings.n`` samples, and whether the finder found all in them."""
        settings, done = self.settings, dict[int, tuple[Sample, bool]]()
        left = list(range(settings.n))
        for turn in range(self.redraws + 1):
            seeds = replace(
                settings, z_seed=settings.z_seed + turn, noise_seed=settings.noise_seed + turn
            )
            drawn = list(draw_some(tools[self.model], self.caption, seeds, left, self.control))
            for sample, found in zip(drawn, tools[FINDER](drawn), strict=True):
                done[sample.index] = replace(sample, redrawn=turn), found
            left = [number for number in left if not done[number][1]]
            if not left:
                break
        yield from (done[number] for number in range(settings.n))


def _noting(
    drawn: Iterator[tuple[Sample, bool]], tried: list[tuple[int, bool]]
) -> Iterator[Sample]:
    """Yield samples, and note how often each was redrawn and whether all was found in it."""
    for sample, found in drawn:
        tried.append((sample.redrawn, found))
        yield sample


def _detector(workspace: Workspace, source: str) -> Detector:
    """Return the workspace's detector; pictures of the embedded models need none to be named."""
    context = StageContext(workspace)
    if source != "embedded" or workspace.settings.extract.boxes_model:
        return context.detector
    return context.shipped_detector
