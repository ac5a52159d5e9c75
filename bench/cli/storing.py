"""`bench store verify|gc|export` and `bench import`: looking after results, and results in and out."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli.arguments import path_argument, path_option
from bench.errors import OK, SOME_FAILED
from bench.output import say

if TYPE_CHECKING:
    from bench.results.store import Store

app = typer.Typer(no_args_is_help=True, help="Look after a results folder: verify, gc, export.")
RESULTS = path_argument("RESULTS", "A results folder.")


def _store(results: Path) -> "Store":
    from bench.results.store import Store

    store = Store(results)
    store.check()
    return store


@app.command()
def verify(results: Path = RESULTS) -> int:
    """Read every record and file, and say what is damaged."""
    from bench.results.upkeep import verify

    store = _store(results)
    problems = verify(store)
    for problem in problems:
        say(problem)
    say(f"{len(store.done())} runs, {len(problems)} problems", err=True)
    if problems:
        say("a damaged run whose folder is removed is made anew by `bench run`", err=True)
    return SOME_FAILED if problems else OK


@app.command()
def gc(results: Path = RESULTS, yes: bool = typer.Option(False, "--yes", help="Remove superseded runs without asking.")) -> None:
    """Remove what crashes have left and superseded runs.

    Superseded is a run whose cell has a later one, of another version of method, engine or features; you are asked before.
    """
    from bench.results.upkeep import superseded, sweep

    store = _store(results)
    say(f"{sweep(store)} leftovers of crashes and old failures removed")
    old = superseded(store)
    if not old:
        say("no superseded runs")
    elif yes or typer.confirm(f"remove {len(old)} superseded runs?"):
        for run_id in old:
            store.remove(run_id)
        say(f"{len(old)} superseded runs removed")


@app.command()
def export(
    results: Path = RESULTS,
    out: Path = path_option(..., "--out", help="The folder to write results.parquet and manifest.json to."),
    grid: str = typer.Option("", "--grid", help="Only the runs of the grid of this name."),
) -> None:
    """Write all results as one Parquet file. It has a manifest, to commit or to send, and loads like a results folder."""
    from bench.results.exchange import export_results

    _store(results)
    manifest = export_results(results, out, grid)
    size = (out / "results.parquet").stat().st_size / 2**20
    say(f"{out}/results.parquet: {manifest['runs']} runs ({manifest['failed']} failed), {size:.1f} MiB")


def import_csv(
    file: Path = path_argument("FILE", "A CSV file: method, dataset, accuracy, citation[, noise, rate, backbone, shots, seed, …]."),
    results: Path = path_argument("RESULTS", "The results folder to add them to."),
) -> None:
    """Add numbers that others have published. They are marked as published everywhere and never mixed with runs."""
    from bench.results.exchange import import_published

    say(f"{import_published(file, results)} published numbers added to {results}")
