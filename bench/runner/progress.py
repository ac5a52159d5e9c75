"""What a run shows while it goes: a bar on a terminal, a line now and then without one, JSON events for tools."""

import json
import sys
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.output import say, shown
from bench.plan import PlannedRun

Style = Literal["auto", "json", "quiet"]
EVERY = 30.0  # seconds between two lines where there is no terminal


@dataclass
class Tally:
    """What has happened so far."""

    total: int
    total_steps: int
    done: int = 0
    failed: int = 0
    cached: int = 0  # finished before, or by another runner meanwhile
    steps: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    def line(self) -> str:
        """The state in words: counts, speed and time left."""
        words = [f"{self.done + self.failed + self.cached}/{self.total} runs", f"{self.done} done", f"{self.failed} failed"]
        if self.cached:
            words.append(f"{self.cached} cached")
        if self.steps:
            rate = self.steps / max(self.seconds, 1e-9)
            words += [f"{rate:.0f} run-steps/s", f"{clock(max(self.total_steps - self.steps, 0) / rate)} left"]
        return " · ".join(words)


def clock(seconds: float) -> str:
    """A duration as people read it: 42 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Reporter(Protocol):
    """Told of everything that happens while a grid runs."""

    tally: Tally

    def cached(self, run: PlannedRun) -> None:
        """A run that was finished elsewhere."""

    def steps(self, count: int) -> None:
        """Training steps done."""

    def run(self, run_id: str, status: str, title: str, error: str, folder: str) -> None:
        """A run ended and is stored in `folder`."""

    def note(self, text: str) -> None:
        """Something a user may want to know."""

    def tick(self) -> None:
        """Called about twice a second."""

    def close(self) -> None:
        """The end."""


class Lines:
    """Lines on stderr: failures at once, the state every 30 seconds."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._said = time.monotonic()

    def cached(self, run: PlannedRun) -> None:  # noqa: ARG002 - every reporter is told which
        """Count it."""
        self.tally.cached += 1

    def steps(self, count: int) -> None:
        """Count them."""
        self.tally.steps += count

    def run(self, run_id: str, status: str, title: str, error: str, folder: str) -> None:  # noqa: ARG002 - other reporters show them
        """Count it; a failure is said at once, with where its record lies."""
        if status == "done":
            self.tally.done += 1
            return
        self.tally.failed += 1
        self.note(f"failed: {title}: {error}\n        record: {folder}/record.json")

    def note(self, text: str) -> None:
        """Say it."""
        say(text, err=True)

    def tick(self) -> None:
        """The state, now and then."""
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self.note(self.tally.line())

    def close(self) -> None:
        """The final state."""
        self.note(self.tally.line())


class Quiet(Lines):
    """Nothing but failures."""

    def tick(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Bar(Lines):
    """A progress bar; failures scroll above it."""

    def __init__(self, tally: Tally) -> None:
        super().__init__(tally)
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=False)
        self._task = self._bar.add_task("starting", total=tally.total)
        self._bar.start()

    def note(self, text: str) -> None:
        """Say it above the bar."""
        self._bar.console.print(shown(text), markup=False, highlight=False, soft_wrap=True)

    def tick(self) -> None:
        """Move the bar."""
        tally = self.tally
        self._bar.update(
            self._task, completed=tally.done + tally.failed + tally.cached, description=tally.line().partition(" · ")[2]
        )

    def close(self) -> None:
        """Leave the full bar."""
        self.tick()
        self._bar.stop()


class Events(Lines):
    """One JSON object per line on stdout."""

    def _event(self, event: str, **content: object) -> None:
        print(json.dumps({"event": event, **content}), flush=True)

    def cached(self, run: PlannedRun) -> None:
        """An event."""
        super().cached(run)
        self._event("cached", run_id=run.run_id)

    def run(self, run_id: str, status: str, title: str, error: str, folder: str) -> None:
        """An event."""
        self.tally.done += status == "done"
        self.tally.failed += status == "failed"
        self._event("run", run_id=run_id, status=status, title=title, error=error, folder=folder)

    def note(self, text: str) -> None:
        """An event."""
        self._event("note", text=text)

    def tick(self) -> None:
        """An event, now and then."""
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self._state("progress")

    def close(self) -> None:
        """The last event."""
        self._state("end")

    def _state(self, event: str) -> None:
        tally = self.tally
        self._event(event, total=tally.total, done=tally.done, failed=tally.failed, cached=tally.cached,
                    steps=tally.steps, total_steps=tally.total_steps, seconds=round(tally.seconds, 1))  # fmt: skip


def make_reporter(style: Style, tally: Tally) -> Reporter:
    """The reporter for a style; "auto" is a bar on a terminal and lines elsewhere."""
    if style == "json":
        return Events(tally)
    if style == "quiet":
        return Quiet(tally)
    return Bar(tally) if sys.stderr.isatty() else Lines(tally)
