"""What a run shows while it goes: its progress for people, JSON events for tools."""

import json
import time
from dataclasses import dataclass, field
from typing import Literal

from bench.plan import PlannedRun
from bench.progress import Progress, clock

Style = Literal["auto", "json", "quiet"]


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

    @property
    def ended(self) -> int:
        """Runs that need nothing more."""
        return self.done + self.failed + self.cached

    def words(self) -> str:
        """The state in words: counts, speed and time left."""
        words = [f"{self.done} done", f"{self.failed} failed"]
        if self.cached:
            words.append(f"{self.cached} cached")
        if self.steps:
            rate = self.steps / max(self.seconds, 1e-9)
            words += [f"{rate:.0f} run-steps/s", f"{clock(max(self.total_steps - self.steps, 0) / rate)} left"]
        return " · ".join(words)


class Reporter:
    """Told of everything that happens while a grid runs: shows progress on stderr, and failures at once."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.progress = Progress()

    def cached(self, run: PlannedRun) -> None:  # noqa: ARG002 - every reporter is told which
        """Count a run that was finished elsewhere."""
        self.tally.cached += 1

    def steps(self, count: int) -> None:
        """Count training steps."""
        self.tally.steps += count

    def run(self, run_id: str, status: str, title: str, error: str, folder: str) -> None:  # noqa: ARG002 - other reporters show them
        """Count a run that ended and is stored in `folder`; a failure is said at once."""
        if status == "done":
            self.tally.done += 1
            return
        self.tally.failed += 1
        self.note(f"failed: {title}: {error}\n        record: {folder}/record.json")

    def note(self, text: str) -> None:
        """Say something that a user may want to know."""
        self.progress.note(text)

    def tick(self) -> None:
        """The state; called about twice a second."""
        self.progress.show("runs", self.tally.ended, self.tally.total, self.tally.words())

    def close(self) -> None:
        """The final state."""
        self.progress.show("runs", self.tally.ended, self.tally.total, self.tally.words(), last=True)
        self.progress.close()


class Quiet(Reporter):
    """Nothing but failures."""

    def tick(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class Events(Reporter):
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
        if self.progress.due():
            self._state("progress")

    def close(self) -> None:
        """The last event."""
        self._state("end")

    def _state(self, event: str) -> None:
        tally = self.tally
        self._event(event, total=tally.total, done=tally.done, failed=tally.failed, cached=tally.cached,
                    steps=tally.steps, total_steps=tally.total_steps, seconds=round(tally.seconds, 1))  # fmt: skip


REPORTERS: dict[Style, type[Reporter]] = {"auto": Reporter, "json": Events, "quiet": Quiet}
