"""`bench report`, `bench compare` and `bench reproduce`: what stored runs say. None imports torch."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bench.cli.arguments import JSON, path_argument, path_option
from bench.cli.arguments import pairs as key_values
from bench.errors import WORSE, BenchError
from bench.files import toml_text, write_text
from bench.output import say
from bench.output import shown as shown_text

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console

    from bench.results.frame import Results

RESULTS = path_argument("RESULTS", "A results folder, or an exported .parquet file.")


def console() -> "Console":
    """For tables on stdout; as wide as they need where nobody looks."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)


def _listed(text: str) -> list[str]:
    """A comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _names(texts: list[str]) -> dict[str, str]:
    """`label=name` texts as a mapping; a label may hold "=" itself, as GCE(q=0.5) does."""
    names: dict[str, str] = {}
    for text in texts:
        label, equals, shown = text.rpartition("=")
        if not (label and equals):
            raise BenchError(f"--name '{text}' is not of the form label=name.")
        if label in names:
            raise BenchError(f"--name {label} is given twice.", "Choose one name.")
        names[label] = shown
    return names


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(number) for number in _listed(text)]
    except ValueError:
        raise BenchError(f"{option} '{text}' is not a list of numbers.", "For instance 0,0.25,0.5.") from None


def _curves(path: Path | None) -> "DataFrame | None":
    """The CSV of `bench curves`, checked."""
    import pandas as pd

    if path is None:
        return None
    try:
        curves = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise BenchError(f"--curves {path} cannot be read ({error}).", "`bench curves` prints such a file.") from error
    lacking = {"method", "p_y", "gradient_norm", "classes", "rest"} - set(curves)
    if lacking or curves.empty:
        raise BenchError(f"--curves {path} lacks {', '.join(sorted(lacking)) or 'rows'}.", "`bench curves` prints such a file.")
    return curves


def _load(path: Path) -> "Results":
    """The results of a path; what could not be read of them is named at once, as whatever follows may be due to it."""
    from bench.results.frame import load

    loaded = load(path)
    for damaged in loaded.passed_over:
        say(f"passed over: {damaged}", err=True)
    return loaded


def report(
    results: Path = RESULTS,
    out: Path = path_option(Path("report"), "--out", help="The folder to write to."),
    control: str = typer.Option("coop_ce", "--control", help="The method that all others are tested against."),
    methods: str = typer.Option("", "--methods", help="Only these methods, in this order, separated by commas."),
    noise: str = typer.Option("", "--noise", help="The noise protocol that ranks (default: symmetric)."),
    margin: float = typer.Option(0.5, "--margin", help="Accuracy points that count as practically equal."),
    allow_missing: str = typer.Option("", "--allow-missing", help="Leave out what is incomplete: drop-dataset or drop-method."),
    select: str = typer.Option("", "--select", help="Choose the learning rate by noisy_val, or by clean_val (an oracle)."),
    with_oracles: bool = typer.Option(False, "--with-oracles", help="Let oracle methods compete."),
    where: list[str] = typer.Option([], "--where", help="Only runs with column=value, e.g. shots=16. Repeat it for more values."),
    name: list[str] = typer.Option([], "--name", help="Show a method under another name, e.g. coop_ce=CoOp. Repeatable."),
    group: str = typer.Option("", "--group", help="Numbers by a column of the datasets as well, e.g. domain."),
    mixed: list[str] = typer.Option([], "--mixed", help="A training key in which methods may differ, e.g. epochs. Repeatable."),
    datasets: str = typer.Option("", "--datasets", help="Datasets of the paper's table, in order, separated by commas."),
    rates: str = typer.Option("", "--rates", help="Noise rates of the paper's table, in order, separated by commas."),
    digits: int = typer.Option(1, "--digits", help="Decimals in the paper's table."),
    spread: str = typer.Option("std", "--spread", help="What stands behind ± in the paper's table: std, se, interval or none."),
    text_width: float = typer.Option(
        345.0, "--text-width", help="Points of text that wide LaTeX tables fit (NeurIPS 397, CVPR 496)."
    ),
    width: float = typer.Option(5.5, "--width", help="Inches of the figures in print: 3.25, 5.5 or 6.9."),
    formats: str = typer.Option("png", "--formats", help="Of the figures: png, pdf, svg, separated by commas."),
    columns: str = typer.Option("", "--columns", help="Columns of the leaderboard, separated by commas."),
    pairs: bool = typer.Option(False, "--pairs", help="Test all pairs of methods as well."),
    curves: Path | None = path_option(None, "--curves", help="A CSV file from `bench curves`, for the figure of gradients."),
    as_json: bool = typer.Option(False, "--json", help="Print the leaderboard as JSON."),
) -> None:
    """Tables, figures, statistics and a page from stored runs."""
    from reports import render
    from reports.analysis import analyse
    from reports.board import checked_columns
    from reports.choices import Choices
    from reports.completeness import IncompleteError
    from reports.paper import Layout
    from reports.report import Extras, write

    shown = checked_columns(columns)
    names = _names(name)
    kept = key_values("--where", where)
    choices = Choices(control, noise, margin, allow_missing, select, with_oracles, kept, names, _listed(methods), mixed, group)  # type: ignore[arg-type]  # it checks them
    layout = Layout(_listed(datasets), _numbers("--rates", rates), digits, spread, text_width)  # type: ignore[arg-type]  # so does it
    command = shlex.join(["bench", *sys.argv[1:]])
    extras = Extras(shown, pairs, _curves(curves), command, results, width, tuple(_listed(formats)), layout)
    loaded = _load(results)
    try:
        analysis = analyse(loaded.frame, choices)
    except IncompleteError as error:
        grid = out / "missing.toml"
        write_text(grid, toml_text(error.grid))
        raise BenchError(
            error.message,
            f"{error.hint}\nThis runs them: bench run {shlex.quote(str(grid))} --out {shlex.quote(str(results))}",
            error.code,
        ) from error
    made = write(loaded, analysis, out, extras)
    if as_json:
        say(made.tables[0].numbers.reset_index().to_json(orient="records"))
        return
    for table in made.tables[:2]:
        console().print(render.terminal(table))
    for line in made.headline:
        console().print(shown_text(line), markup=False, highlight=False)
    for note in analysis.notes:
        say(f"note: {note}", err=True)
    say(f"report: {made.folder}", err=True)


def compare(
    a: Path = path_argument("BEFORE", "The reference: a results folder or an exported .parquet file."),
    b: Path = path_argument("AFTER", "Yours, likewise."),
    margin: float = typer.Option(0.5, "--margin", help="Accuracy points that count as practically equal."),
    where: list[str] = typer.Option([], "--where", help="Only runs with column=value. Repeat it for more values."),
    as_json: bool = JSON,
) -> None:
    """Compare two result sets, cell by cell. Exit code 5 when a method got significantly worse."""
    import json

    from reports import comparison, render

    loaded = _load(a), _load(b)
    found = comparison.compare(*loaded, margin, key_values("--where", where))
    if as_json:
        rows = json.loads(found.methods.reset_index().to_json(orient="records"))
        say(json.dumps({"methods": rows, "changes": found.changes, "notes": found.notes, "worse": found.worse}))
    else:
        console().print(render.terminal(comparison.comparison_table(found)))
        for line in found.changes or ["nothing changed in the specification of these cells"]:
            say(line)
    for note in found.notes:
        say(f"note: {note}", err=True)
    if found.worse:
        say(f"significantly worse: {', '.join(found.worse)}", err=True)
        raise typer.Exit(WORSE)


def reproduce(
    results: Path = RESULTS,
    where: list[str] = typer.Option([], "--where", help="Only runs with column=value. Repeat it for more values."),
    as_json: bool = JSON,
) -> None:
    """Set your runs beside imported published numbers. What differs in the protocols is shown."""
    from reports import cells, render, reproduction

    loaded = _load(results)
    found = reproduction.beside_print(cells.where(loaded.frame, key_values("--where", where)))
    if as_json:
        say(found.to_json(orient="records"))
    else:
        console().print(render.terminal(reproduction.reproduction_table(found)))
