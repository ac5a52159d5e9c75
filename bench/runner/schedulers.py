"""Schedulers of clusters. One is a class behind a name: another (PBS, LSF) is a file like slurm.py and an entry of `SCHEDULERS`."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from bench.errors import USAGE, BenchError, nearest
from bench.plan import make_plan
from bench.results.store import Store
from bench.runner.job import ShardJob
from bench.runner.slurm import Slurm

POLL = 5.0  # seconds between two looks at a queue
MIN_MINUTES = 4  # jobs are warned 90 s before their limit, which may be rounded to minutes: a shorter one would be hit at once


class Scheduler(Protocol):
    """What `bench run --on NAME` needs of a scheduler. It keeps its files in the store's folder of its name."""

    name: str

    def check(self) -> None:
        """Whether jobs can be submitted.

        Raises:
            BenchError: It is not here.
        """
        ...

    def submit(self, job: ShardJob, parts: Sequence[tuple[int, int]], options: Mapping[str, str]) -> Iterator[Iterable[str]]:
        """Submit a job for each part, in as many arrays as it takes; the ids of each array's jobs, as soon as there are any.

        Raises:
            BenchError: It takes no job.
        """
        ...

    def queued(self) -> dict[str, str]:
        """All jobs that have not ended, and the state of each ("PENDING", "RUNNING", …); none where it is not here."""
        ...


SCHEDULERS: dict[str, type[Scheduler]] = {Slurm.name: Slurm}


def scheduler(name: str) -> Scheduler:
    """The scheduler of a name.

    Raises:
        BenchError: There is none.
    """
    if name not in SCHEDULERS:
        hint = nearest(name, {"here", *SCHEDULERS}) + " Other schedulers run `bench run --shard i/n`."
        raise BenchError(f"--on {name} is unknown.", hint, USAGE)
    return SCHEDULERS[name]()


def submit(cluster: Scheduler, job: ShardJob, shards: int, options: Mapping[str, str]) -> list[str]:
    """Submit what a store lacks of a grid.

    Args:
        cluster: Where to.
        job: What each job runs on its part.
        shards: Jobs, at most.
        options: The scheduler's own, but for the time limit, which is the job's.

    Returns:
        The jobs' ids; none where nothing is missing.

    Raises:
        BenchError: The time limit is too short, or the scheduler is missing or takes no job.
    """
    if job.minutes < MIN_MINUTES:
        raise BenchError(f"a limit of {job.minutes} minutes is too short for a job.", f"Give at least {MIN_MINUTES}.")
    cluster.check()
    store = Store(job.root)
    store.prepare()
    plan = make_plan(job.grid, store, retry_failed=job.retry_failed, workers=shards, most_seconds=job.most_seconds)
    count = min(shards, len(plan.shards))
    ids: list[str] = []
    for array in cluster.submit(job, [(i, count) for i in range(1, count + 1)], options) if count else ():
        ids += array
        note_jobs(job.root, cluster.name, array)  # at once: the next array may be refused
    return ids


def note_jobs(root: Path, name: str, ids: Iterable[str]) -> None:
    """Remember jobs that were submitted for a store."""
    with (root / name / "jobs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"jobs": list(ids)}) + "\n")


def noted_jobs(root: Path, name: str) -> list[str]:
    """All jobs that were ever submitted to a scheduler for a store."""
    return [job for jobs in Store(root).jobs(name) for job in jobs]


def queued(root: Path) -> Counter[str]:
    """A store's jobs that have not ended, by state."""
    states = Counter[str]()
    for name in SCHEDULERS:
        if mine := set(noted_jobs(root, name)):
            states.update(state for job, state in scheduler(name).queued().items() if job in mine)
    return states


def wait(root: Path) -> None:
    """Until none of a store's jobs is in a queue."""
    while queued(root):
        time.sleep(POLL)
