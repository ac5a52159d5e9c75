"""`run_grid`: a grid onto a store, from plan to the last run."""

import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.devices import cores, devices
from bench.errors import ENVIRONMENT, INCOMPLETE, OK, SOME_FAILED, BenchError
from bench.files import remove, write_json
from bench.grid import Grid
from bench.machine import free_memory
from bench.plan import Plan, make_plan
from bench.results.store import Store
from bench.runner.claims import Claims
from bench.runner.forks import start_server
from bench.runner.pool import Pool
from bench.runner.preflight import check_inputs
from bench.runner.progress import REPORTERS, Style, Tally
from bench.runner.worker import Train, Work

STALL = 900.0  # seconds without progress after which a worker counts as hung
WORKER_MEMORY = 3e9  # bytes a CPU worker should find: libraries and a model take one, a stack the rest


@dataclass(frozen=True)
class Summary:
    """How a grid ended. Counts are runs."""

    total: int
    done: int  # by this call
    cached: int  # finished before, or by another runner
    failed: int  # now or before
    unavailable: int  # their features are missing
    seconds: float

    @property
    def code(self) -> int:
        """The command's exit code."""
        return SOME_FAILED if self.failed else INCOMPLETE if self.unavailable else OK


def run_grid(
    grid: Grid,
    root: Path,
    *,
    plugins: Sequence[Path] = (),
    device: str = "auto",
    workers: int | None = None,
    part: tuple[int, int] = (1, 1),
    stack: int | None = None,
    keep_context: bool = False,
    retry_failed: bool = False,
    stall: float = STALL,
    most_seconds: float = math.inf,
    style: Style = "auto",
    train: Train | None = None,
) -> Summary:
    """Run what a store lacks of a grid; starting again continues.

    Args:
        grid: What is asked. Methods of `plugins` must have been loaded before.
        root: The results folder; made where it does not exist.
        plugins: Files that the workers load.
        device: As `bench.devices.devices` takes it.
        workers: Worker processes of each device, which share it; by default one per GPU, and on the CPU one per core, as far as
            memory allows.
        part: (i, n): only the i-th of n parts, for schedulers of one's own.
        stack: Most runs of a shard.
        keep_context: Store the learned context tokens too.
        retry_failed: Run failed runs again.
        stall: Seconds without progress after which a worker is stopped and its shard tried in smaller stacks.
        most_seconds: A shard takes no longer than this, as far as the store's history tells.
        style: How progress is shown.
        train: In place of the engine's `train_stack`; importable by name in the workers.

    Raises:
        BenchError: The grid is wrong, features or the device are missing, or results cannot be stored.
        KeyboardInterrupt: Ctrl-C; finished runs are kept.
    """
    store = Store(root)
    limit = {} if stack is None else {"stack": stack}
    if not store.done():  # there is something to train, unless the grid is wrong
        start_server()
    devices = _devices(device, workers)
    plan = make_plan(grid, store, retry_failed=retry_failed, workers=len(devices), part=part, most_seconds=most_seconds, **limit)
    if plan.counts["unavailable"] == plan.counts["total"]:
        raise BenchError(next(iter(plan.reasons("unavailable"))), code=ENVIRONMENT)
    check_inputs(plan)
    store.prepare()
    counts = plan.counts
    tally = Tally(counts["to_run"], sum(shard.steps for shard in plan.shards))
    try:
        _remember(grid, plan, store)
        if plan.shards:
            owner = Claims(root)
            if owner.alone():
                for path in store.tmp.iterdir():  # what a killed runner was writing
                    remove(path)
            works = _works(devices[: len(plan.shards)], root, owner.owner, plugins=tuple(plugins),
                           keep_context=keep_context, train=train)  # fmt: skip
            _train(plan, Pool(store, works, owner, REPORTERS[style](tally), stall), quiet=style == "quiet")
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise BenchError(f"{root}: {error.strerror}{where}.", "Free or unlock the disk and start again.", ENVIRONMENT) from error
    before = counts["failed"] - sum(run.state == "failed" for shard in plan.shards for run in shard.runs)  # those are tried again
    return Summary(
        counts["total"], tally.done, counts["done"] + tally.cached, tally.failed + before, counts["unavailable"], tally.seconds
    )


def _train(plan: Plan, pool: Pool, *, quiet: bool) -> None:
    """Train the plan's shards; whatever happens, claims are given back and the last state is shown."""
    if not quiet:
        runs, shards = f"{plan.counts['to_run']} runs to do of {plan.counts['total']}", f"{len(plan.shards)} shards"
        pool.reporter.note(f"{runs}, in {shards} on {len(pool.works)} workers; results: {pool.store.root}")
    try:
        pool.run(plan.shards)
    finally:
        pool.reporter.close()
        pool.claims.close()


def _devices(device: str, workers: int | None) -> list[str]:
    """One entry per worker, in turn over the devices: few shards still go to all of them."""
    found = devices(device)
    usual = max(1, min(cores(), int(free_memory(unknown=math.inf) / WORKER_MEMORY))) if found == ["cpu"] else 1
    return found * (workers or usual)


def _works(devices: Sequence[str], root: Path, owner: str, **shared: Any) -> list[Work]:
    """One work order per worker, each with its log and its share of the threads."""
    (root / "logs").mkdir(exist_ok=True)
    threads = max(1, cores() // max(len(devices), 1))
    return [
        Work(root=root, device=device, threads=threads, processes=devices.count(device), log=f"logs/{owner}-{index}.log", **shared)
        for index, device in enumerate(devices)
    ]


def _remember(grid: Grid, plan: Plan, store: Store) -> None:
    """Note what was asked, so that `bench status` knows what is missing without expanding the grid again."""
    asked = {
        "command": shlex.join(["bench", *sys.argv[1:]]),
        "grid": grid.model_dump(mode="json"),
        "run_ids": [run.run_id for run in plan.runs if run.run_id],
        "unavailable": plan.reasons("unavailable"),
    }
    write_json(store.root / "grids" / f"{grid.name}.json", asked)
