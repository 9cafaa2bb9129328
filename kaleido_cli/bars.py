"""Progress bars for a terminal, with rate and time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipelines.core.lines import format_rate


class RateColumn(ProgressColumn):
    """Units in a second, or seconds a unit where it is slow."""

    def render(self, task: Task) -> Text:
        """Draw the rate of `task`."""
        speed = task.finished_speed or task.speed
        return Text(format_rate(speed, task.fields["unit"]) if speed else "", "cyan")


class CountColumn(ProgressColumn):
    """Units done, of how many."""

    def render(self, task: Task) -> Text:
        """Draw the count of `task`."""
        of = f"/{int(task.total):,}" if task.total is not None else ""
        return Text(f"{int(task.completed):,}{of}")


def make_bars(console: Console) -> Progress:
    """Return rich's live display with our columns."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        CountColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )
