"""Curves as SVG that takes its colours from the page, so that it suits light, dark and print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pipelines.evaluate.metrics.statistics import Interval

WIDTH, HEIGHT = 340, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 14, 44
_LEAST_SPAN = 0.25  # of the largest value: a small change must not look like a large one
_OFFSET = 3.0  # pixels between models at equal x, so that whiskers stay apart


@dataclass(frozen=True)
class Line:
    """One model's curve; `points` are (guidance scale, value with interval), by scale."""

    name: str
    points: Sequence[tuple[float, Interval]]


def line_chart(
    title: str, y_label: str, lines: Sequence[Line], reference: float | None = None
) -> Markup:
    """Draw values over the guidance scale, with whiskers for intervals.

    Args:
        title: For screen readers.
        y_label: What the vertical axis shows, with its unit.
        lines: One a model; its name is also its CSS class.
        reference: Value of real pictures, drawn as a dashed line; None for none.

    Returns:
        An ``<svg>`` element, all text escaped.
    """
    scales = sorted({x for line in lines for x, _ in line.points})
    values = [
        value
        for line in lines
        for _, interval in line.points
        for value in (interval.value, interval.low, interval.high)
    ]
    known = [v for v in (*values, reference) if v is not None and math.isfinite(v)]
    if not scales or not known:
        return Markup("")
    high = max(known)
    ticks = nice_ticks(min(*known, high - _LEAST_SPAN * abs(high)), high)
    frame = _Frame(scales[0], scales[-1], ticks[0], ticks[-1])
    parts = [_axes(frame, scales, ticks, y_label)]
    if reference is not None and math.isfinite(reference):
        y = frame.y(reference)
        parts.append(
            f'<line class="data" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
    middle = (len(lines) - 1) / 2.0
    parts += [
        _curve(frame, line, (index - middle) * 2.0 * _OFFSET) for index, line in enumerate(lines)
    ]
    spoken = escape(f"{title}: {_words(lines)}")
    return Markup(  # of numbers and escaped text
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{spoken}">'
        f"{''.join(parts)}</svg>"
    )


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that enclose [low, high], about `count` steps of 1, 2, 2.5 or 5 times 10^k."""
    if high - low < 1e-9 * max(abs(high), 1.0):
        low, high = low - 0.5 * (abs(low) or 1.0), high + 0.5 * (abs(high) or 1.0)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if power * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    left: float
    right: float
    low: float
    high: float

    def x(self, scale: float) -> float:
        inner = WIDTH - _LEFT - _RIGHT - 28
        span = self.right - self.left
        share = (scale - self.left) / span if span else 0.5
        return _LEFT + 14 + share * inner

    def y(self, value: float) -> float:
        inner = HEIGHT - _TOP - _BOTTOM
        return HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low) * inner


def _axes(frame: _Frame, scales: Sequence[float], ticks: Sequence[float], y_label: str) -> str:
    floor, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    parts = []
    for tick in ticks:
        y = frame.y(tick)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="end" x="{_LEFT - 7}" y="{y + 3.5:.1f}">{tick:g}</text>')
    for scale in scales:
        x = frame.x(scale)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{floor}" y2="{floor + 4}"/>'
        )
        parts.append(f'<text class="mid" x="{x:.1f}" y="{floor + 17}">{scale:g}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/>')
    middle_x, middle_y = (_LEFT + right) / 2, (_TOP + floor) / 2
    parts.append(
        f'<text class="mid name" x="{middle_x}" y="{HEIGHT - 8}">guidance scale (CFG)</text>'
    )
    parts.append(
        f'<text class="mid name" transform="translate(13 {middle_y}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _curve(frame: _Frame, line: Line, offset: float) -> str:
    known = [(x, i) for x, i in line.points if math.isfinite(i.value)]
    path = " ".join(f"{frame.x(x) + offset:.1f},{frame.y(i.value):.1f}" for x, i in known)
    parts = [f'<polyline points="{path}"/>']
    for x, interval in known:
        centre, y = frame.x(x) + offset, frame.y(interval.value)
        if interval.known:
            low, high = frame.y(interval.low), frame.y(interval.high)
            parts.append(
                f'<path class="whisker" d="M{centre - 3:.1f} {low:.1f}h6M{centre:.1f} {low:.1f}'
                f'V{high:.1f}M{centre - 3:.1f} {high:.1f}h6"/>'
            )
        parts.append(f'<circle cx="{centre:.1f}" cy="{y:.1f}" r="3.6"/>')
    return f'<g class="curve {escape(line.name)}">{"".join(parts)}</g>'


def _words(lines: Sequence[Line]) -> str:
    """Say the curves in words."""
    return "; ".join(
        f"{line.name} "
        + ", ".join(f"{interval.value:.3g} at CFG {x:g}" for x, interval in line.points)
        for line in lines
    )
