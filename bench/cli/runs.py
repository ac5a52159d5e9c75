"""`bench plan`, `bench run` and `bench status`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.errors import BenchError

if TYPE_CHECKING:
    from bench.plan import Plan

GRID = typer.Argument(help="The grid file (TOML).")
OUT = typer.Option(None, "--out", help="Results folder; default results/<the grid's name>.")
PLUGIN = typer.Option([], "--plugin", help="A Python file that registers methods; may be repeated.")
SHARD = typer.Option("1/1", "--shard", help="Only part i of n, as i/n: for schedulers of one's own.")
RETRY = typer.Option(False, "--retry-failed", help="Run failed runs again.")
JSON = typer.Option(False, "--json", help="Print JSON.")


def _part(text: str) -> tuple[int, int]:
    i, _, n = text.partition("/")
    if not (i.isdigit() and n.isdigit() and 1 <= int(i) <= int(n)):
        raise BenchError(f"--shard {text} is no part.", "Write i/n with 1 <= i <= n, such as --shard 2/8.")
    return int(i), int(n)


def _load_plugins(plugins: list[Path]) -> None:
    from methods.registry import load_plugin

    for path in plugins:
        if not path.is_file():
            raise BenchError(f"plugin {path} does not exist.", "Name a Python file.")
        load_plugin(path)


def plan(
    grid: Path = GRID,
    out: Path | None = OUT,
    plugin: list[Path] = PLUGIN,
    shard: str = SHARD,
    retry_failed: bool = RETRY,
    as_json: bool = JSON,
) -> None:
    """Show what a grid asks for, what is done of it, and what is to run. Nothing is written."""
    from bench.grid import read_grid
    from bench.plan import describe, make_plan
    from bench.store import Store

    _load_plugins(plugin)
    asked = read_grid(grid)
    made = make_plan(asked, Store(out or Path("results") / asked.name), retry_failed=retry_failed, part=_part(shard))
    if as_json:
        typer.echo(json.dumps(describe(made)))
    else:
        show(made)


def show(made: "Plan") -> None:
    """A plan for people."""
    from bench.runner.progress import clock

    counts = made.counts
    typer.echo(f"{counts['total']} runs: {counts['done']} done, {counts['failed']} failed, {counts['to_run']} to run")
    if counts["stale"]:
        typer.echo(f"  stale        {counts['stale']:6}  the method, the engine or the features changed since; they run again")
    if counts["failed"]:
        typer.echo(f"  failed       {counts['failed']:6}  --retry-failed runs them again; `bench status` shows why")
    for state in ("excluded", "unavailable"):
        for reason, count in made.reasons(state).items():
            typer.echo(f"  {state:12} {count:6}  {reason}")
    if made.shards:
        steps = sum(shard.steps for shard in made.shards)
        time = "unknown before the first runs" if made.seconds is None else f"about {clock(made.seconds)} on one worker"
        typer.echo(
            f"{len(made.shards)} shards of up to {max(len(s.cells) for s in made.shards)} runs, {steps} run-steps; time: {time}"
        )


def run(
    grid: Path = GRID,
    out: Path | None = OUT,
    plugin: list[Path] = PLUGIN,
    dry_run: bool = typer.Option(False, "--dry-run", help="Only show the plan."),
    shard: str = SHARD,
    device: str = typer.Option("auto", "--device", help="auto, cpu, cuda, cuda:1 or mps."),
    workers: int | None = typer.Option(None, "--workers", min=1, help="Worker processes on the CPU; default one per core."),
    stack: int | None = typer.Option(None, "--stack", min=1, help="Most runs that train as one stack."),
    keep_context: bool = typer.Option(False, "--keep-context", help="Store the learned context tokens too."),
    retry_failed: bool = RETRY,
    stall: float = typer.Option(900.0, "--stall", min=1.0, help="Seconds without progress after which a worker is stopped."),
    as_json: bool = typer.Option(False, "--json", help="Print progress as JSON events."),
) -> int:
    """Run what is missing of a grid. Starting again continues."""
    if dry_run:
        plan(grid, out, plugin, shard, retry_failed, as_json)
        return 0
    from bench.grid import read_grid
    from bench.runner.run import run_grid

    _load_plugins(plugin)
    asked = read_grid(grid)
    root = out or Path("results") / asked.name
    summary = run_grid(
        asked, root, plugins=plugin, device=device, workers=workers, part=_part(shard), stack=stack, keep_context=keep_context,
        retry_failed=retry_failed, stall=stall, style="json" if as_json else "auto",
    )  # fmt: skip
    left = f", {summary.unavailable} without features (bench plan says which)" if summary.unavailable else ""
    typer.echo(f"{root}: {summary.done} runs done now, {summary.cached} before, {summary.failed} failed{left}", err=True)
    return summary.code


def status(
    results: Path = typer.Argument(help="A results folder."),
    as_json: bool = JSON,
) -> int:
    """Show what a results folder holds, what is missing, what is running and what failed."""
    from bench.runner.status import read_status, status_text

    found = read_status(results)
    typer.echo(json.dumps(found) if as_json else status_text(found))
    return 0
