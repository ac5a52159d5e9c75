"""Grids on Slurm: an array of jobs, each of which runs one part of the grid as `bench run --shard i/n` would.

A job that hits its time limit is requeued and continues with what is missing. Where it finished nothing since it started, it goes
on with smaller stacks; where even a single run does not fit in the limit, that run is recorded as failed. So no work is repeated
for ever. Jobs know nothing of each other, so a failing one cancels none.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.engine.outcome import Outcome
from bench.errors import ENVIRONMENT, BenchError
from bench.grid import Grid
from bench.plan import STACK, make_plan
from bench.results.store import Store
from bench.runner.claims import held_here
from bench.runner.queue import note_jobs
from bench.runner.run import run_grid
from bench.runner.worker import Train, Work, store_outcomes
from methods.registry import load_plugin

MIN_MINUTES = 4  # submitit is warned 90 s before the end and Slurm rounds to minutes: a shorter limit would be hit at once


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

    def __call__(self, part: tuple[int, int]) -> tuple[int, int]:
        """Run a part of the grid; the runs done and failed."""
        for plugin in self.plugins:
            load_plugin(plugin)
        self.before = _ended(self.root)
        first = os.environ.get("SLURM_RESTART_COUNT", "0") == "0"
        summary = run_grid(self.grid, self.root, plugins=self.plugins, device=self.device, part=part, stack=self.stack,
                           keep_context=self.keep_context, retry_failed=self.retry_failed and first,
                           most_seconds=30 * self.minutes, train=self.train)  # fmt: skip
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
        outcomes = [Outcome(run.spec, "failed", error=error, traceback="Submit it again with a longer --time.") for run in runs]
        work = Work(root=self.root, device="cpu", threads=1)
        store_outcomes(Store(self.root), runs, outcomes, work, lambda _: None)


def _ended(root: Path) -> int:
    store = Store(root)
    return len(store.done()) + len(list(store.failed.glob("*")))


def submit(job: ShardJob, shards: int, options: Mapping[str, Any]) -> list[str]:
    """Submit what a store lacks of a grid.

    Args:
        job: What each job of the array runs on its part.
        shards: Jobs of the array, at most.
        options: sbatch's options as submitit names them: partition, gpus_per_node, cpus_per_task, array_parallelism, …

    Returns:
        The jobs' ids; none where nothing is missing.

    Raises:
        BenchError: Slurm or submitit is missing, the limit is too short, or Slurm takes no job.
    """
    if job.minutes < MIN_MINUTES:
        raise BenchError(f"--time {job.minutes} is too short for a job.", f"Give at least {MIN_MINUTES} minutes.")
    executor_class = _executor()
    store = Store(job.root)
    store.prepare()
    plan = make_plan(job.grid, store, retry_failed=job.retry_failed, workers=shards, most_seconds=30 * job.minutes)
    count = min(shards, len(plan.shards))
    parts = [(i, count) for i in range(1, count + 1)]
    ids: list[str] = []
    try:
        executor = executor_class(folder=job.root / "slurm" / "%j", max_num_timeout=10_000)
        executor.update_parameters(
            job_name=f"bench-{job.grid.name}", time=job.minutes, additional_parameters={"requeue": True}, **options
        )
        size = _max_array()
        for start in range(0, count, size):
            ids += [submitted.job_id for submitted in executor.map_array(job, parts[start : start + size])]
    except (RuntimeError, ValueError) as error:
        raise BenchError(f"Slurm took no job: {str(error).strip().splitlines()[-1]}", "Check the options.", ENVIRONMENT) from error
    note_jobs(job.root, ids)
    return ids


def _executor() -> Any:
    try:
        import submitit  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BenchError("--on slurm needs submitit.", 'pip install "noisy-prompt-bench[slurm]"', ENVIRONMENT) from error
    if shutil.which("sbatch") is None:
        raise BenchError("--on slurm: there is no sbatch on this machine.", "Run it on a login node of the cluster.", ENVIRONMENT)
    return submitit.SlurmExecutor


def _max_array() -> int:
    """The most jobs that an array of this cluster may have."""
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
    sizes = [line.split("=")[1] for line in shown.splitlines() if line.startswith("MaxArraySize")]
    return max(1, int(sizes[0])) if sizes else 1001
