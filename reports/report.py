"""A report's folder: tables, figures with their numbers, the text, and the page."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from bench.errors import ENVIRONMENT, BenchError
from bench.results.frame import Results
from reports import cells, choices, evidence, figures, latex, page, paper, rankings, render, sentences, style, training
from reports.analysis import Analysis
from reports.figures import Drawing
from reports.paper import Layout
from reports.style import Style
from reports.tables import Table

DPI = 150


@dataclass(frozen=True, eq=False)
class Extras:
    """What a user may add to a report."""

    columns: tuple[str, ...] = ()  # of the leaderboard
    pairs: bool = False  # test all pairs
    curves: pd.DataFrame | None = None  # the CSV of `bench curves`
    command: str = ""  # that makes this report again
    source: Path | None = None  # the results' folder, for links to records
    width: float = 5.5  # of figures, inches
    formats: tuple[str, ...] = ("png",)  # of figures
    layout: Layout = field(default_factory=Layout)  # of the paper's table

    def __post_init__(self) -> None:
        if self.width not in style.WIDTHS:
            raise BenchError(
                f"--width {self.width} is not one of {', '.join(map(str, style.WIDTHS))} inches.", "A column, a text, a page."
            )
        choices.names("--columns", self.columns)
        choices.names("--formats", self.formats)
        for ending in self.formats:
            choices.one_of("--formats", ending, ("png", "pdf", "svg"))


@dataclass(frozen=True, eq=False)
class Report:
    """What was written, and what it says."""

    folder: Path
    headline: list[str]
    tables: list[Table]
    analysis: Analysis


def looks_of(analysis: Analysis) -> dict[str, Style]:
    """The look of every method that the report shows anywhere."""
    return style.styles(dict(analysis.rows["method"].sort_index()))


def drawings(
    results: Results, analysis: Analysis, looks: dict[str, Style], width: float = 5.5, curves: pd.DataFrame | None = None
) -> Iterator[Drawing]:
    """The figures of a report that its results allow, one after the other."""
    for protocol in cells.protocols(analysis.runs):
        yield figures.noise_curves(analysis, protocol, looks, width)
    if analysis.protocol != "clean":
        yield figures.noise_by_dataset(analysis, analysis.protocol, looks, width)
    yield from filter(None, rankings.whole(analysis, looks, width))
    if analysis.trained:
        yield from training.epochs(results, analysis, looks, width)
    detected = training.detection(analysis, looks, width)
    yield from [detected] if detected else []
    if curves is not None:
        methods = {str(method): style.look(str(method)) for method in curves["method"].unique()}
        front = list(dict.fromkeys(analysis.rows["method"][label] for label in figures.highlighted(analysis)))
        yield training.loss_gradients(curves, front, methods, width)


def write(results: Results, analysis: Analysis, folder: Path, extras: Extras | None = None) -> Report:
    """Write the report into a folder: report.html, report.md, paragraph.txt, tables/ (Markdown, LaTeX, CSV), figures/ (with CSV).

    Raises:
        BenchError: The folder cannot be written.
    """
    extras = extras or Extras()
    tables, headline = evidence.all_tables(analysis, extras.columns, extras.pairs), sentences.headline_of(analysis)
    tables += [*paper.tables(analysis, extras.layout), *filter(None, [evidence.published_table(results)])]
    words, looks = evidence.statistics_lines(analysis), looks_of(analysis)
    setup = f"Setup: {sentences.setup(analysis)}."
    try:
        for part in ("tables", "figures"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for table in tables:
            files = {".md": render.markdown(table), ".csv": render.csv(table), ".tex": latex.column(table, setup),
                     "_wide.tex": latex.across(table, setup, extras.layout.text_width)}  # fmt: skip
            for ending, text in files.items():
                (folder / "tables" / f"{table.name}{ending}").write_text(text, encoding="utf-8")
        pictures = []
        with style.in_style():
            for drawing in drawings(results, analysis, looks, extras.width, extras.curves):
                for ending in dict.fromkeys(("png", *extras.formats)):  # the page shows PNG
                    drawing.figure.savefig(folder / "figures" / f"{drawing.name}.{ending}", dpi=DPI)
                (folder / "figures" / f"{drawing.name}.csv").write_text(drawing.data.to_csv(), encoding="utf-8")
                pictures.append((drawing.name, drawing.caption))
        (folder / "paragraph.txt").write_text(sentences.paste(analysis) + "\n", encoding="utf-8")
        (folder / "report.md").write_text(_markdown(analysis, tables, headline, words, pictures), encoding="utf-8")
        shown = [(folder / "figures" / f"{name}.png", caption) for name, caption in pictures]
        records = page.records_address(extras.source, folder) if extras.source else ""
        html = page.page(
            results, analysis, looks, tables, headline, [*words, sentences.paste(analysis)], shown, extras.command, records
        )
        (folder / "report.html").write_text(html, encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"the report cannot be written to {folder} ({error.strerror}).", "Give another folder with --out.", ENVIRONMENT
        ) from error
    return Report(folder, headline, tables, analysis)


def _markdown(
    analysis: Analysis, tables: list[Table], headline: list[str], words: list[str], pictures: list[tuple[str, str]]
) -> str:
    text = render.markdown_text
    parts = ["# Report", *map(text, headline)]
    if analysis.notes:
        parts.append("\n".join(f"- Note: {text(note)}." for note in analysis.notes))
    parts += [render.markdown(tables[0]), *map(text, words), render.markdown(tables[1])]
    parts += [f"![{text(caption)}](figures/{name}.png)\n\n{text(caption)}" for name, caption in pictures]
    parts += [render.markdown(table) for table in tables[2:]]
    return "\n\n".join(parts) + "\n"
