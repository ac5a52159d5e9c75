"""What a job of a cluster runs: one part of a grid, as `bench run --shard i/n` would.

A job that hits its time limit goes on with what is missing. Where it finished nothing since it started, it goes on with smaller
stacks; where even a single run does not fit in the limit, that run is recorded as failed. So no work is repeated for ever. Jobs
know nothing of each other, so a failing one cancels none.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.engine.outcome import Outcome
from bench.grid import Grid
from bench.plan import STACK, make_plan
from bench.results.store import Store
from bench.runner.claims import held_here
from bench.runner.run import run_grid
from bench.runner.worker import Train, Work, store_outcomes
from methods.registry import load_plugin


@dataclass
class ShardJob:
    """What the jobs of an array run. submitit calls `checkpoint` when a job nears its limit, and requeues what that returns."""

    grid: Grid
    root: Path
    minutes: int  # the job's time limit
    plugins: tuple[Path, ...] = ()
    device: str = "auto"
    keep_context: bool = False
    retry_failed: bool = False
    stack: int = STACK
    train: Train | None = None
    before: int = field(default=0, init=False)  # runs that had ended when the job started

    @property
    def most_seconds(self) -> float:
        """What a shard may take: half of the job's limit, as times are estimates."""
        return 30.0 * self.minutes

    def __call__(self, part: tuple[int, int]) -> tuple[int, int]:
        """Run a part of the grid; the runs done and failed."""
        for plugin in self.plugins:
            load_plugin(plugin)
        self.before = _ended(self.root)
        first = os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
        summary = run_grid(self.grid, self.root, plugins=self.plugins, device=self.device, part=part, stack=self.stack,
                           keep_context=self.keep_context, retry_failed=self.retry_failed and first,
                           most_seconds=self.most_seconds, train=self.train)  # fmt: skip
        return summary.done, summary.failed

    def checkpoint(self, part: tuple[int, int]) -> Any:
        """What goes on after the limit: this job, in smaller stacks where it got nothing done, at last without the run at hand."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415 - an extra

        if _ended(self.root) > self.before:
            return DelayedSubmission(self, part)
        if self.stack == 1:
            self.give_up(set(held_here(self.root)))
        return DelayedSubmission(replace(self, stack=max(1, self.stack // 2)), part)

    def give_up(self, run_ids: set[str]) -> None:
        """Record runs that do not fit in the job's time limit even alone."""
        runs = [run for run in make_plan(self.grid, Store(self.root)).runs if run.run_id in run_ids]
        error = f"the run alone takes longer than the job's limit of {self.minutes} minutes"
        outcomes = [Outcome(run.spec, "failed", error=error, traceback="Give it more: --option time=MINUTES.") for run in runs]
        work = Work(root=self.root, device="cpu", threads=1)
        store_outcomes(Store(self.root), runs, outcomes, work, lambda _: None)


def _ended(root: Path) -> int:
    store = Store(root)
    return len(store.done()) + len(list(store.failed.glob("*")))
