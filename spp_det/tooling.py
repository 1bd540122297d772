"""What every command shares: how it ends, and how it shows long work."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from spp_det.errors import SppDetError
from spp_det.places import storage_fault

T = TypeVar("T")
console = Console(highlight=False, markup=False)  # names of data may look like markup
notes = Console(stderr=True, highlight=False, markup=False)  # progress goes here, so that a pipe gets results alone
OTHERS_WAIT = 1.0  # s
PLAIN_SECONDS = 15.0  # how often a line appears where no terminal shows a bar


def run_tool(main: Callable[[list[str] | None], int]) -> None:
    """Run a command's `main(argv)` and exit with its code.

    A user's mistake becomes one line on standard error and exit code 1, Ctrl-C 130; faults of ours keep a traceback.
    """
    try:
        code = main(None)
    except SppDetError as fault:
        if os.environ.get("RANK", "0") != "0":
            time.sleep(OTHERS_WAIT)  # what all processes find is told by the first: torchrun then ends the others
        print(f"error: {_one_line(str(fault))}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader of our output has left
        sys.stderr.close()
        code = 141
    except OSError as fault:  # a full disk, a folder without permission
        if fault.filename is None and fault.strerror is None:
            raise
        print(f"error: {fault.filename or 'the disk'}: {fault.strerror}", file=sys.stderr)
        code = 1
    except Exception as fault:
        said = storage_fault(fault)
        if said is None:
            raise
        print(f"error: {_one_line(said)}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _one_line(text: str) -> str:
    """Without line breaks, and without characters by which a name in data could steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


@contextmanager
def hushed() -> Iterator[None]:
    """Nothing is printed within the block but errors: another process speaks for this one."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):  # noqa: PTH123 - not a path
        notes.quiet = True
        try:
            yield
        finally:
            notes.quiet = False


@contextmanager
def progress(description: str, done: int = 0, unit: str = "") -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with (done, total) after each step: shows both, and the time left, on standard error.

    A bar on a terminal, else a line now and then. done: how much was there before, which took no time now;
    unit: of what is counted; with it, how many a second are shown too.
    """
    if notes.quiet:
        yield lambda count, total: None
    elif notes.is_terminal:
        columns = (
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        speed = (_SpeedColumn(unit),) if unit else ()
        with Progress(*columns, TimeRemainingColumn(), *speed, console=notes) as bar:
            task = bar.add_task(description, total=None, completed=done)
            yield lambda count, total: bar.update(task, completed=count, total=total)
    else:
        yield _Lines(description, done, unit)


class _Lines:
    """Progress where no terminal shows a bar."""

    def __init__(self, description: str, done: int, unit: str) -> None:
        self.description, self.before, self.unit = description, done, unit
        self.start = self.last = time.monotonic()

    def __call__(self, count: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self.last < PLAIN_SECONDS or count <= self.before:
            return
        self.last = now
        rate = (count - self.before) / (now - self.start)
        left = f", {format_seconds((total - count) / rate)} left" if total else ""
        speed = f", {format_rate(rate)} {self.unit}/s" if self.unit else ""
        print(f"  {self.description}: {count}/{total or '?'}{speed}{left}", file=sys.stderr, flush=True)


class _SpeedColumn(ProgressColumn):
    """How many of a unit a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{format_rate(task.speed)} {self.unit}/s")


def format_rate(rate: float) -> str:
    """So many a second as people read them: 0.45, 4.5, 45."""
    return f"{rate:.{max(0, 1 - math.floor(math.log10(rate)))}f}" if 0 < rate < 10 else f"{rate:.0f}"


def track(items: Iterable[T], description: str, total: int | None = None, done: int = 0) -> Iterator[T]:
    """The same items, with progress and time left.

    total: how many there are in all, where len(items) cannot say; done: how many of those were there before.
    """
    if total is None and isinstance(items, Sized):
        total = len(items) + done
    with progress(description, done) as show:
        for count, item in enumerate(items, done + 1):
            yield item
            show(count, total)


def counted(count: int, noun: str) -> str:
    """Such as "1 image" and "2,000 images"."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def format_seconds(seconds: float) -> str:
    """Seconds as people read them: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def format_bytes(count: float) -> str:
    """Bytes as people read them: 512 B, 1.3 MB, 130 GB; decimal units."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.{0 if count >= 100 * factor else 1}f} {unit}"
    return f"{count:.0f} B"
