"""Progress bars on standard error, if that is a terminal and the caller wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress as Bars

from .quant.graph.progress import Progress, quiet


@contextmanager
def progress_bar(label: str, show: bool) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that moves the bar called ``label``; it does nothing unless ``show``."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda done, total: None
        return
    with Bars(console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stage_bars(labels: Mapping[str, str], show: bool) -> Iterator[Progress]:
    """A bar for each stage that ``labels`` names, seen while it is under way; nothing unless ``show``."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield quiet
        return
    with Bars(console=console, transient=True) as bars:
        tasks = {stage: bars.add_task(label, total=None, visible=False) for stage, label in labels.items()}

        def move(stage: str, done: int, total: int) -> None:
            bars.update(tasks[stage], completed=done, total=total if total > 1 else None, visible=done < total)

        yield move
