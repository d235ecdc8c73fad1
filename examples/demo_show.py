"""What the demo prints while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class Show:
    """Numbered steps, lines and progress bars on one console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._step = 0
        self._began = time.monotonic()

    def step(self, title: str, what: str) -> None:
        """Announce the next step."""
        self._step += 1
        at = time.monotonic() - self._began
        self.console.print(
            f"\n[bold cyan]{self._step}  {title}[/]  [dim]{what} (after {at:.0f} s)[/]",
            soft_wrap=True,
        )

    def line(self, text: str) -> None:
        """Print a line that belongs to the current step."""
        self.console.print(f"   {text}", highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, name: str, total: int) -> Iterator[Progress]:
        """Show a progress bar; the block calls `advance` on its only task, number 0."""
        columns = (
            TextColumn("   {task.description}"),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console) as progress:
            progress.add_task(name, total=total)
            yield progress
