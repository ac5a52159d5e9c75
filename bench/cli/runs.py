"""`bench plan`, `bench run` and `bench status`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bench.cli.arguments import DEVICE, JSON, PLUGIN, load_plugins, pairs, path_argument, path_option, refuse
from bench.devices import check_name
from bench.errors import INCOMPLETE, OK, SOME_FAILED, BenchError
from bench.files import resolved
from bench.output import say

if TYPE_CHECKING:
    from bench.grid import Grid
    from bench.plan import Plan
    from bench.runner.job import ShardJob
    from bench.runner.schedulers import Scheduler

GRID = path_argument("GRID", "The grid file (TOML).")
OUT = path_option(None, "--out", help="Results folder; default results/<the grid's name>.")
SHARD = typer.Option("1/1", "--shard", help="Run only part i of n, such as 2/8: for a scheduler that --on does not know.")
RETRY = typer.Option(False, "--retry-failed", help="Run failed runs again.")
MINUTES = 120  # a job's time limit on a cluster


def _part(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
        raise BenchError(f"--shard {text} does not name a part.", "Write i/n with 1 <= i <= n, such as --shard 2/8.")
    return int(i), int(n)


def _root(out: Path | None, grid: "Grid") -> Path:
    """The results folder: as given, else after the grid."""
    return out or resolved(Path("results") / grid.name)


def plan(
    grid: Path = GRID,
    out: Path | None = OUT,
    plugin: list[Path] = PLUGIN,
    shard: str = SHARD,
    retry_failed: bool = RETRY,
    as_json: bool = JSON,
) -> None:
    """Show what of a grid is done and what is to run. Nothing is written but the results' index, which may be deleted."""
    from bench.grid import read_grid

    load_plugins(plugin)
    _plan(read_grid(grid), out, as_json, retry_failed=retry_failed, part=_part(shard))


def _plan(asked: "Grid", out: Path | None, as_json: bool, **options: Any) -> None:
    from bench.plan import describe, make_plan
    from bench.results.store import Store

    made = make_plan(asked, Store(_root(out, asked)), **options)
    if as_json:
        say(json.dumps(describe(made)))
    else:
        show(made)


def show(made: "Plan") -> None:
    """A plan for people."""
    from bench.progress import clock

    counts = made.counts
    say(f"{counts['total']} runs: {counts['done']} done, {counts['failed']} failed, {counts['to_run']} to run")
    if counts["stale"]:
        say(f"  stale        {counts['stale']:6}  the method, the engine or the features changed since; they run again")
    if counts["failed"]:
        say(f"  failed       {counts['failed']:6}  --retry-failed runs them again; `bench status` shows why")
    for state in ("excluded", "unavailable"):
        for reason, count in made.reasons(state).items():
            say(f"  {state:12} {count:6}  {reason}")
    if made.shards:
        steps = sum(shard.steps for shard in made.shards)
        time = "unknown before the first runs" if made.seconds is None else f"about {clock(made.seconds)} on one worker"
        say(f"{len(made.shards)} shards of up to {max(len(s.runs) for s in made.shards)} runs, {steps} run-steps; time: {time}")


def run(
    context: typer.Context,
    grid: Path = GRID,
    out: Path | None = OUT,
    plugin: list[Path] = PLUGIN,
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show the plan."),
    shard: str = SHARD,
    device: str = DEVICE,
    workers: int | None = typer.Option(None, "--workers", min=1, help="Worker processes of a device; default one per GPU or core."),
    stack: int | None = typer.Option(None, "--stack", min=1, help="Train at most so many runs together. Default: 32."),
    keep_context: bool = typer.Option(False, "--keep-context", help="Store the learned context tokens too."),
    retry_failed: bool = RETRY,
    stall: float = typer.Option(900.0, "--stall", min=1.0, help="Seconds without progress after which a worker is stopped."),
    as_json: bool = typer.Option(False, "--json", help="Print progress as JSON events."),
    on: str = typer.Option("here", "--on", help="here, or a cluster's scheduler (slurm): submit an array of jobs."),
    shards: int = typer.Option(16, "--shards", min=1, help="On a cluster: jobs of the array, at most."),
    option: list[str] = typer.Option(
        [], "--option", help=f"On a cluster: time=MINUTES of a job ({MINUTES}), and sbatch's own as partition=gpu; repeatable."
    ),
    wait: bool = typer.Option(False, "--wait", help="On a cluster: wait for the jobs, and submit again what they left."),
) -> int:
    """Run what is missing of a grid. Starting again continues."""
    from bench.grid import read_grid
    from bench.plan import STACK
    from bench.runner.run import run_grid

    if on == "here":
        refuse(context, "under --on here", "shards", "option", "wait")
    else:
        refuse(context, f"under --on {on}, where every job takes its part", "shard", "workers", "stack", "stall", "as_json")
    load_plugins(plugin)
    asked = read_grid(grid)
    if dry_run:
        _plan(asked, out, as_json, retry_failed=retry_failed, part=_part(shard), stack=stack or STACK,
              workers=(workers or 1) if on == "here" else shards)  # fmt: skip
        return OK
    root = _root(out, asked)
    asked_of = {key.replace("-", "_"): values[-1] for key, values in pairs("--option", option).items()}
    if on != "here":
        from bench.runner.job import ShardJob
        from bench.runner.schedulers import scheduler

        cluster = scheduler(on)
        check_name(device)
        job = ShardJob(asked, root, _minutes(asked_of), tuple(plugin), device, keep_context, retry_failed)
        return _on_cluster(cluster, job, shards, asked_of, wait)
    summary = run_grid(
        asked, root, plugins=plugin, device=device, workers=workers, part=_part(shard), stack=stack, keep_context=keep_context,
        retry_failed=retry_failed, stall=stall, style="json" if as_json else "auto",
    )  # fmt: skip
    left = f", {summary.unavailable} without features (bench plan says which)" if summary.unavailable else ""
    say(f"{root}: {summary.done} runs done now, {summary.cached} before, {summary.failed} failed{left}", err=True)
    if asked.select:
        say(f"`bench report {root} --select {asked.select}` chooses the learning rates", err=True)
    return summary.code


def _minutes(options: dict[str, str]) -> int:
    """A job's time limit, taken out of the options."""
    minutes = options.pop("time", str(MINUTES))
    if not minutes.isdecimal():
        raise BenchError(f"--option time={minutes} is not a number of minutes.", "Write e.g. --option time=240.")
    return int(minutes)


def _on_cluster(cluster: "Scheduler", job: "ShardJob", shards: int, options: dict[str, str], wait: bool) -> int:
    """Submit; and where asked, wait and submit again as long as that gets runs done."""
    from bench.plan import make_plan
    from bench.results.store import Store
    from bench.runner import schedulers

    while True:
        ids = schedulers.submit(cluster, job, shards, options)
        say(f"{len(ids)} jobs submitted: {' '.join(ids)}" if ids else "nothing to submit")
        if ids and not wait:
            say(f"`bench status {job.root}` shows the queue and the results", err=True)
            return OK
        left = make_plan(job.grid, Store(job.root), retry_failed=job.retry_failed).counts["to_run"]
        schedulers.wait(job.root)
        job.retry_failed = False
        counts = make_plan(job.grid, Store(job.root)).counts
        say(f"{counts['done']} of {counts['total']} runs done, {counts['failed']} failed, {counts['to_run']} missing", err=True)
        if not counts["to_run"]:
            return SOME_FAILED if counts["failed"] else INCOMPLETE if counts["unavailable"] else OK
        if counts["to_run"] == left:
            logs = job.root / cluster.name
            raise BenchError("the jobs ended without finishing a run.", f"Their logs are in {logs}.", INCOMPLETE)


def status(
    results: Path = path_argument("RESULTS", "A results folder."),
    as_json: bool = JSON,
) -> int:
    """Show what is done, missing, running and failed."""
    from bench.runner.status import read_status, status_text

    found = read_status(results)
    say(json.dumps(found) if as_json else status_text(found))
    return 0
