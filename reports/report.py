"""A report's folder: tables, figures, the text, and the page."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench.errors import ENVIRONMENT, BenchError
from bench.results import Results
from reports import cells, figures, render, sentences, statistics
from reports.analysis import Analysis
from reports.style import styles
from reports.tables import Table, all_tables, p_text

DPI = 150


@dataclass(frozen=True, eq=False)
class Report:
    """What was written, and what it says."""

    folder: Path
    headline: list[str]
    tables: list[Table]
    analysis: Analysis


def drawings(results: Results, analysis: Analysis) -> Iterator[tuple[str, str, Figure]]:  # noqa: ARG001
    """The figures of a report, one after the other: file name, caption, figure."""
    looks = styles(analysis.labels, analysis.control)
    for protocol in cells.protocols(analysis.runs):
        axes = figures.noise_curves(analysis.runs, protocol, analysis.labels, looks)
        mean = f"mean over {len(analysis.datasets)} datasets"
        caption = f"Accuracy against {protocol} noise, {mean}; bands: ± 1 standard deviation over seeds; dashed: zero-shot."
        yield f"noise_{protocol}", caption, axes[0].figure  # type: ignore[misc]
    if analysis.control and len(analysis.labels) > 1:
        gains = analysis.scores[analysis.labels].sub(analysis.scores[analysis.control], axis=0).T.drop(index=analysis.control)
        yield "gain_map", f"Gain over {analysis.control} of the score, points.", figures.gain_map(gains, analysis.control).figure  # type: ignore[misc]


def statistics_text(analysis: Analysis) -> str:
    """The tests in words."""
    lines = []
    scores = analysis.scores[analysis.ranked]
    n, k = scores.shape
    if k >= 3 and n >= 2:
        test = statistics.friedman(scores.to_numpy())
        lines.append(f"Friedman (Iman-Davenport): F({test.df[0]}, {test.df[1]}) = {test.statistic:.2f}, p = {p_text(test.p)}.")
    if analysis.control:
        lines.append(statistics.attainable(n, len(analysis.versus)))
    lines.append("The dataset is the experimental unit: rates and seeds are averaged first, never counted as further blocks.")
    return "\n\n".join(lines)


def write(results: Results, analysis: Analysis, folder: Path, columns: tuple[str, ...] = ()) -> Report:
    """Write the report into a folder: report.md, tables/ (Markdown, LaTeX, CSV) and figures/ (PNG, PDF).

    Raises:
        BenchError: The folder cannot be written.
    """
    tables, lines = all_tables(analysis, columns), sentences.headline_of(analysis)
    try:
        for part in ("tables", "figures"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for table in tables:
            for ending, text in (("md", render.markdown(table)), ("tex", render.latex(table)), ("csv", render.csv(table))):
                (folder / "tables" / f"{table.name}.{ending}").write_text(text, encoding="utf-8")
        pictures = []
        for name, caption, figure in drawings(results, analysis):
            figure.savefig(folder / "figures" / f"{name}.png", dpi=DPI, bbox_inches="tight")
            figure.savefig(folder / "figures" / f"{name}.pdf", bbox_inches="tight", metadata={"CreationDate": None})
            plt.close(figure)
            pictures.append((name, caption))
        (folder / "report.md").write_text(_markdown(analysis, tables, lines, pictures), encoding="utf-8")
    except OSError as error:
        raise BenchError(
            f"the report cannot be written to {folder} ({error.strerror}).", "Give another folder with --out.", ENVIRONMENT
        ) from error
    return Report(folder, lines, tables, analysis)


def _markdown(analysis: Analysis, tables: list[Table], lines: list[str], pictures: list[tuple[str, str]]) -> str:
    parts = ["# Report", *lines]
    if analysis.notes:
        parts.append("\n".join(f"- Note: {render.markdown_text(note)}." for note in analysis.notes))
    parts += [render.markdown(tables[0]), statistics_text(analysis), render.markdown(tables[1])]
    parts += [f"![{caption}](figures/{name}.png)\n\n{caption}" for name, caption in pictures]
    parts += [render.markdown(table) for table in tables[2:]]
    return "\n\n".join(parts) + "\n"
