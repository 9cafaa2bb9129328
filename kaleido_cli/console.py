"""Console output: results on stdout; messages, progress and errors on stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import (
    Advance,
    LineProgress,
    Pace,
    Progress,
    format_rate,
    format_seconds,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars


@cache
def console(stderr: bool) -> Console:
    """Return the console of stdout or stderr, without markup, because captions may contain it."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def clean(value: Any) -> str:
    """Replace control characters, so that file names and captions cannot control the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in str(value))


def say(text: str) -> None:
    """Print a message to stderr."""
    console(stderr=True).print(clean(text))


def show(result: Any, as_json: bool, render: Callable[[Any], None]) -> None:
    """Print a command's result.

    Args:
        result: A dataclass or a mapping.
        as_json: Print one JSON object instead of text.
        render: Prints the result as text.
    """
    if as_json:
        print(json.dumps(plain(result), indent=2, ensure_ascii=True, allow_nan=False))
    else:
        render(result)


def plain(value: Any) -> Any:
    """Convert `value` to JSON values: paths become text, non-finite numbers null."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def line(text: str) -> None:
    """Print a line of a result to stdout."""
    console(stderr=False).print(clean(text))


def table(rows: Iterable[Sequence[Any]], header: Sequence[str]) -> None:
    """Print rows as a table to stdout, with right-aligned numbers."""
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(header):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        shown.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(clean(cell)) for cell in row))
    console(stderr=False).print(shown, soft_wrap=False)


def show_counts(summary: Any, noun: str, limit: int = 5) -> None:
    """Print the counts of a run over shards and its first failures."""
    line(
        f"{noun}: {summary.ok:,} ok, {summary.filtered:,} filtered, {summary.failed:,} failed "
        f"in {summary.shards:,} shards ({summary.skipped:,} were up to date)"
    )
    for key, reason in summary.failures[:limit]:
        line(f"  failed {key}: {reason}")
    if (rest := len(summary.failures) - limit) > 0:
        line(f"  and {rest:,} more: `kaleido status --failed` lists them all")


def show_gain(gain: Any) -> None:
    """Print what choosing from a pool of z gained in spread, and what it cost in likelihood."""
    line(
        f"  chosen from {gain.pool:,}: spread {gain.spread:.2f} in place of "
        f"{gain.spread_of_first:.2f}, {gain.nats:.3f} nats a token in place of "
        f"{gain.nats_of_first:.3f}"
    )


def show_records(records: Sequence[Any]) -> None:
    """Print key, split and caption of records, and each latent on its own line."""
    for record in records:
        held_out = " (held out)" if record.split == "heldout" else ""
        line(f"{record.key}{held_out}: {record.caption}")
        for kind, text in record.readable.items():
            line(f"  {kind}: {text}")


def show_error(error: KaleidoError) -> None:
    """Print the thing, the reason and the hint of an error."""
    from rich.text import Text

    text = Text.assemble(("Error: ", "bold red"), (clean(error.what), "bold"))
    text.append(f": {clean(error.why)}")
    if error.hint:
        text.append(f"\n{clean(error.hint)}", "cyan")
    console(stderr=True).print(text)


class ConsoleProgress(Progress):
    """Progress bars on a terminal, plain lines otherwise; always on stderr."""

    def __init__(self) -> None:
        self._bars: Bars | None = None

    @contextmanager
    def task(
        self, description: str, total: int | None, unit: str = "it", done: int = 0
    ) -> Iterator[Advance]:
        """Show one task; tasks may be nested."""
        if not console(stderr=True).is_terminal:
            with LineProgress(say).task(description, total, unit, done) as advance:
                yield advance
            return
        with self._live() as bars:
            pace = Pace()
            task = bars.add_task(
                description, total=total, completed=done, unit=unit, note="", pace=pace
            )

            def move(n: int = 1, note: str = "") -> None:
                pace.advance(n)
                bars.update(task, advance=n)
                if note:
                    bars.update(task, note=clean(note))

            yield move

    @contextmanager
    def _live(self) -> Iterator[Bars]:
        """Share one live display: rich draws only one at a time."""
        if self._bars is not None:
            yield self._bars
            return
        with _make_bars(console(stderr=True)) as self._bars:
            try:
                yield self._bars
            finally:
                self._bars = None

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        say(text)


def _make_bars(console: Console) -> Bars:
    """Create rich's live display with the columns below."""
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Count(ProgressColumn):
        """Render the completed and the total units."""

        def render(self, task: Task) -> Text:
            of = f"/{int(task.total):,}" if task.total is not None else ""
            return Text(f"{int(task.completed):,}{of}")

    class Rate(ProgressColumn):
        """Render the rate and the remaining time."""

        def render(self, task: Task) -> Text:
            rate = task.fields["pace"].rate
            if not rate:
                return Text("")
            text = Text(format_rate(rate, task.fields["unit"]), "cyan")
            if task.total is not None and not task.finished:
                text.append(f", {format_seconds(task.remaining / rate)} left")
            return text

    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        Count(),
        TimeElapsedColumn(),
        Rate(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
    )
