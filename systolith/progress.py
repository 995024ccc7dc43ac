"""A progress bar on standard error, if that is a terminal and the caller wants one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress


@contextmanager
def progress_bar(label: str, show: bool) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that moves the bar called ``label``; it does nothing unless ``show``."""
    console = Console(stderr=True)
    if not (show and console.is_terminal):
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
