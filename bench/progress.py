"""How far something long has come, on stderr: a bar on a terminal, a line now and then without one."""

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from bench.output import say, shown

EVERY = 30.0  # seconds between two lines where there is no terminal


def clock(seconds: float) -> str:
    """A duration as people read it: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """A count per kind of thing ("runs", "train images") out of its total, with a few words behind it."""

    def __init__(self) -> None:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._bars = Bars(*columns, console=Console(stderr=True)) if sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def note(self, text: str) -> None:
        """Something beside the count, above the bar."""
        if self._bars:
            self._bars.console.print(shown(text), markup=False, highlight=False, soft_wrap=True)
        else:
            say(text, err=True)

    def show(self, kind: str, done: int, total: int, words: str, *, last: bool = False) -> None:
        """The count; without a terminal only every 30 seconds, and if it is the last."""
        if self._bars:
            if kind not in self._tasks:
                self._bars.start()
                self._tasks[kind] = self._bars.add_task(kind, total=total)
            self._bars.update(self._tasks[kind], completed=done, description=f"{kind} · {words}")
        elif self.due() or last:
            say(f"{done}/{total} {kind} · {words}", err=True)

    def due(self) -> bool:
        """Whether the last line is 30 seconds old; if so, the next one is about to be said."""
        due = time.monotonic() - self._said >= EVERY
        if due:
            self._said = time.monotonic()
        return due

    def close(self) -> None:
        """Leave the bars as they are."""
        if self._bars:
            self._bars.stop()
