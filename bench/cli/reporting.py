"""`bench report` and `bench compare`: what stored runs say. Neither imports torch."""

import shlex
import sys
from pathlib import Path

import typer

from bench.errors import BenchError

RESULTS = typer.Argument(help="A results folder, or an exported .parquet file.")


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    """`key=value` texts as a mapping."""
    for text in texts:
        if "=" not in text:
            raise BenchError(f"{option} '{text}' is not of the form key=value.")
    return dict(text.split("=", 1) for text in texts)


def report(
    results: Path = RESULTS,
    out: Path = typer.Option(Path("report"), "--out", help="The folder to write to."),
    control: str = typer.Option("coop_ce", "--control", help="The method that all others are tested against."),
    noise: str = typer.Option("", "--noise", help="The noise protocol that ranks (default: symmetric)."),
    margin: float = typer.Option(0.5, "--margin", help="Accuracy points that count as practically equal."),
    allow_missing: str = typer.Option("", "--allow-missing", help="Leave out what is incomplete: drop-dataset or drop-method."),
    select: str = typer.Option("", "--select", help="Choose the learning rate by noisy_val, or by clean_val (an oracle)."),
    with_oracles: bool = typer.Option(False, "--with-oracles", help="Let oracle methods compete."),
    where: list[str] = typer.Option([], "--where", help="Only runs with column=value, e.g. shots=16. Repeatable."),
    name: list[str] = typer.Option([], "--name", help="Show a method under another name, e.g. coop_ce=CoOp. Repeatable."),
    columns: str = typer.Option("", "--columns", help="Columns of the leaderboard, separated by commas."),
    as_json: bool = typer.Option(False, "--json", help="Print the leaderboard as JSON."),
) -> None:
    """Tables, figures, statistics and a page from stored runs."""
    from rich.console import Console

    from bench.results import load
    from reports import render
    from reports.analysis import Choices, analyse
    from reports.cells import IncompleteError, toml
    from reports.report import write
    from reports.tables import checked_columns

    shown = checked_columns(columns)
    choices = Choices(control, noise, margin, allow_missing, select, with_oracles, _pairs("--where", where), _pairs("--name", name))  # type: ignore[arg-type]
    loaded = load(results)
    try:
        analysis = analyse(loaded.frame, choices)
    except IncompleteError as error:
        grid = out / "missing.toml"
        out.mkdir(parents=True, exist_ok=True)
        grid.write_text(toml(error.grid), encoding="utf-8")
        raise BenchError(
            error.message,
            f"{error.hint}\nThis runs them: bench run {shlex.quote(str(grid))} --out {shlex.quote(str(results))}",
            error.code,
        ) from error
    made = write(loaded, analysis, out, shown)
    if as_json:
        typer.echo(made.tables[0].numbers.reset_index().to_json(orient="records"))
        return
    console = Console(width=None if sys.stdout.isatty() else 200)
    for table in made.tables[:2]:
        console.print(render.terminal(table))
    for line in made.headline:
        console.print(line, markup=False, highlight=False)
    for note in analysis.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"report: {made.folder}", err=True)
