"""`bench export`: a stored run's learned prompt, for use with plain open_clip."""

from pathlib import Path

import typer

from bench.cli.arguments import path_option
from bench.output import say


def export(
    run_id: str = typer.Argument(help="A run of the store that kept its context (bench run --keep-context)."),
    results: Path = path_option(..., "--results", help="The results folder that the run is in."),
    out: Path = path_option(Path("prompt"), "--out", help="The folder to write to."),
) -> None:
    """Write a run's learned prompt for plain open_clip. With its class text features, as files that load without this suite."""
    from bench.engine.prompt_files import write_prompt
    from bench.results.store import Store

    for path in write_prompt(Store(results), run_id, out):
        say(path)
