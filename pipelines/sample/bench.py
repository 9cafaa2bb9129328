"""`kaleido doctor --bench`: which settings draw fastest on this machine, by measuring."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import torch

from pipelines.core.progress import SILENT, Progress
from pipelines.models.conditioning import Conditioning
from pipelines.models.hub import first_line
from pipelines.sample.bundle import Bundle
from pipelines.sample.draw import condition_on, draw_z_each, encode_caption
from pipelines.sample.sampler import draw_images
from pipelines.sample.speed import BF16, CHANNELS_LAST, COMPILE
from pipelines.workspace.settings import SampleSettings

CAPTION = "two circles and a star"
"""What is drawn; only its length has an effect on the time."""

WAYS: tuple[tuple[str, ...], ...] = ((), (CHANNELS_LAST,), (BF16,), (CHANNELS_LAST, BF16))
BATCH = 16
"""Pictures drawn together while ways are compared."""

BATCHES = (1, 4, 16, 32)
ROUNDS = 7
STEPS = 2
PASSES = 2 * STEPS  # of the network in a draw: both steps are guided

GAIN = 1.05
"""A way is chosen if it is so much faster, and faster in all rounds but one."""

NEAR = 0.97
"""The smallest batch is chosen whose rate comes so near to the best."""

VISIBLE = 1.0
"""Mean difference of pictures, in levels of 255, above which a way is not chosen."""


@dataclass(frozen=True)
class Timing:
    """What one way cost.

    Attributes:
        speed: The value of ``sample.speed``.
        batch: Pictures drawn together.
        milliseconds: Of one picture and pass of the network, the median over rounds.
        ratio: Speed relative to the plain way, the median over rounds.
        low: The smallest ratio of a round but one.
        high: The greatest.
        levels: Mean difference of the pictures from plain ones, in levels of 255.
        memory: Peak of the GPU's memory in bytes; 0 on a CPU.
        failed: Why it could not be measured; empty if it was.
    """

    speed: tuple[str, ...]
    batch: int
    milliseconds: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    levels: float = 0.0
    memory: int = 0
    failed: str = ""


@dataclass(frozen=True)
class Bench:
    """What was measured, and what follows.

    Attributes:
        device: Where.
        model: Where the models come from, ``workspace`` or ``embedded``.
        ways: One timing per way, with equal batches.
        batches: One timing per size of batch, in the chosen way.
        speed: The value to set for ``sample.speed``.
        batch_size: The value to set for ``sample.batch_size``.
        reasons: Why, a sentence each.
    """

    device: str
    model: str
    ways: list[Timing]
    batches: list[Timing]
    speed: tuple[str, ...]
    batch_size: int
    reasons: list[str]


def bench(bundle: Bundle, with_compile: bool, progress: Progress = SILENT) -> Bench:
    """Measure ways and batches, in turns, so that a busy machine slows all of them alike.

    Args:
        bundle: The models, on their device.
        with_compile: Also compile the network, which takes minutes on a CPU.
        progress: Told what is measured.
    """
    batch = BATCH
    subject = _Subject(bundle, max(batch, *BATCHES))
    candidates = [(way, batch) for way in WAYS]
    progress.message(f"{len(candidates)} ways, {batch} pictures at a time, {ROUNDS} rounds.")
    ways = _in_turns(subject, candidates)
    speed = _fastest(ways)
    if with_compile:
        progress.message("Compiling the network, which can take minutes.")
        compiled = _in_turns(subject, [((), batch), ((*speed, COMPILE), batch)])[1:]
        ways += compiled
        best = next(way for way in ways if way.speed == speed)
        if _is_worth(compiled[0]) and compiled[0].ratio > GAIN * best.ratio:
            speed = compiled[0].speed
    progress.message(f"Batches of {', '.join(map(str, BATCHES))} pictures.")
    batches = _in_turns(subject, [(speed, size) for size in BATCHES])
    rate = min(each.milliseconds for each in batches if not each.failed)
    size = next(b.batch for b in batches if not b.failed and b.milliseconds * NEAR <= rate)
    reasons = [_reason(way, way.speed == speed) for way in ways]
    reasons.append(f"Batches of {size} come within 3 % of the best rate, in the least memory.")
    reasons.append(_of_offload(subject, batches))
    return Bench(subject.device, bundle.source, ways, batches, speed, size, reasons)


class _Subject:
    """Draws the same pictures in a way; z and condition are made once."""

    def __init__(self, bundle: Bundle, most: int) -> None:
        self._bundle = bundle
        settings = SampleSettings(n=most, z_candidates=1)
        [(_, drawn)] = draw_z_each(bundle.prior, [CAPTION], bundle.z_kinds, settings, most)
        encoded = encode_caption(bundle.reader, CAPTION)
        self._condition = condition_on(bundle, encoded, [each.text for each in drawn])
        self._cuda = self._condition.tokens.is_cuda
        self.device = _name(self._condition.tokens.device)

    def draw(self, speed: Sequence[str], batch: int) -> np.ndarray:
        """Draw pictures in a few steps, all of them guided."""
        every = self._condition
        parts = (every.tokens, every.mask, every.rects, every.names)
        condition = Conditioning(*(part[:batch] for part in parts))
        settings = replace(SampleSettings(), speed=tuple(speed), steps=STEPS, cfg_end=0.0)
        return draw_images(self._bundle.diffusion, condition, range(batch), settings)

    def seconds(self, speed: Sequence[str], batch: int) -> float:
        """Time one draw; pictures are on the CPU at its end, so a GPU has finished."""
        begun = perf_counter()
        self.draw(speed, batch)
        return perf_counter() - begun

    def peak(self, speed: Sequence[str], batch: int) -> int:
        """Return the peak of the GPU's memory during one draw."""
        if not self._cuda:
            return 0
        torch.cuda.reset_peak_memory_stats()
        self.draw(speed, batch)
        return torch.cuda.max_memory_allocated()

    @property
    def total(self) -> int:
        """Memory of the GPU in bytes; 0 on a CPU."""
        return torch.cuda.get_device_properties(0).total_memory if self._cuda else 0


def _in_turns(subject: _Subject, candidates: Sequence[tuple[tuple[str, ...], int]]) -> list[Timing]:
    """Time every candidate once a round; the first is what the others are compared with."""
    times: dict[int, list[float]] = {}
    failed: dict[int, str] = {}
    for number, (speed, batch) in enumerate(candidates):
        try:
            subject.draw(speed, batch)
            times[number] = []
        except Exception as error:  # a compiler, a kernel or memory that is missing
            if not speed and batch == min(size for _, size in candidates):
                raise
            failed[number] = first_line(error)[:200]
    for _ in range(ROUNDS):
        for number, values in times.items():
            speed, batch = candidates[number]
            values.append(subject.seconds(speed, batch) / (PASSES * batch))
    found = []
    for number, (speed, batch) in enumerate(candidates):
        if number in failed:
            found.append(Timing(speed, batch, failed=failed[number]))
            continue
        ratios = [first / value for first, value in zip(times[0], times[number], strict=True)]
        apart = np.abs(subject.draw(speed, batch).astype(int) - subject.draw((), batch)).mean()
        found.append(
            Timing(
                speed,
                batch,
                1000 * statistics.median(times[number]),
                statistics.median(ratios),
                sorted(ratios)[1],
                max(ratios),
                float(apart),
                subject.peak(speed, batch),
            )
        )
    return found


def _is_worth(timing: Timing) -> bool:
    return (
        not timing.failed and timing.ratio >= GAIN and timing.low > 1.0 and timing.levels <= VISIBLE
    )


def _fastest(ways: Sequence[Timing]) -> tuple[str, ...]:
    worth = [way for way in ways if _is_worth(way)]
    return max(worth, key=lambda way: way.ratio).speed if worth else ()


def _reason(way: Timing, chosen: bool) -> str:
    name = " and ".join(way.speed) or "the plain way"
    if way.failed:
        return f"{name}: cannot be used here ({way.failed})."
    if not way.speed:
        return f"{name}: what the others are compared with{', and the fastest' * chosen}."
    facts = f"{way.ratio:.2f} times as fast ({way.low:.2f} to {way.high:.2f})"
    facts += f", pictures {way.levels:.2f} levels of 255 apart"
    if chosen:
        return f"{name}: chosen, {facts}."
    return f"{name}: not chosen, {facts}."


def _of_offload(subject: _Subject, batches: Sequence[Timing]) -> str:
    if not subject.total:
        return "Offloading needs a GPU."
    most, there = max(each.memory for each in batches) / 2**30, subject.total / 2**30
    return f"Offloading is not needed: drawing takes {most:.1f} of {there:.0f} GiB of the GPU."


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
