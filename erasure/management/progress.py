"""A bar on the terminal of whoever waits; nothing where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.utils import timezone
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from audit.events import Reference
from erasure.models import DeletionRequest
from erasure.watching import headway_of


@contextmanager
def show_progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what is to be told of each step: its name, its number and how many there are. None when
    standard error is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("")

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield show


@contextmanager
def show_pieces(subject: Reference) -> Iterator[Callable[[DeletionRequest], None] | None]:
    """Yield what is to be told of each transaction of a large erasure: it shows rows done, rows per
    second and the time left. None when standard error is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of about {task.total:,.0f} rows, {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("erasing", total=0, rate="…")

        def show(request: DeletionRequest) -> None:
            if request.subject != subject:
                return
            if going := headway_of(request, now=timezone.now()):
                ahead = f" ({going.ahead:,} that go along are gone)" if going.ahead else ""
                bar.update(
                    task,
                    description=f"erasing{ahead}",
                    completed=going.done,
                    total=going.expected,
                    rate=f"{going.rate:,.0f} a second",
                )

        yield show
