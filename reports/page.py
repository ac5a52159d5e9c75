"""`report.html`: one file that opens offline. Text from results only ever goes through Jinja's escaping or `textContent`."""

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench import __version__
from bench.results.frame import Results
from reports import cells, labels
from reports.analysis import Analysis
from reports.board import LEADERBOARD
from reports.figures import highlighted
from reports.style import SOFT, Style
from reports.tables import Table
from reports.wording import counted

BESIDE = 18  # columns of a table that fit a printed page


def page(
    results: Results,
    analysis: Analysis,
    looks: dict[str, Style],
    tables: Sequence[Table],
    headline: Sequence[str],
    words: Sequence[str],
    pictures: Sequence[tuple[Path, str]],
    command: str = "",
    records: str = "",
) -> str:
    """The page as HTML.

    Args:
        results: For the environments that the runs were made in.
        analysis: What the page is about.
        looks: The methods' colours, as in the figures.
        tables: All tables, the leaderboard first.
        headline: Sentences.
        words: Statistics in words, a paragraph each.
        pictures: PNG files and their captions.
        command: The command that makes the report again.
        records: Relative address of the store's `runs` folder, for links; "" where there is none (an exported file).
    """
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template("page.html.jinja").render(
        version=__version__,
        headline=[line.replace(" %", "\u00a0%") for line in headline],
        notes=analysis.notes,
        leaderboard=leaderboard(analysis, looks, tables[0]),
        words=words,
        tables=tables[1:],
        pieces=pieces,
        pictures=[(base64.b64encode(path.read_bytes()).decode(), caption, path.stem) for path, caption in pictures],
        protocol=protocol(analysis.runs),
        environments=[
            {key: _shown(value) for key, value in sorted(one.items())}
            for one in results.environments()
            if one  # a published number has none
        ],
        command=command,
        data=drill_down(analysis, records) | {"curves": curves(analysis, looks), "protocol": analysis.protocol},
    )


def pieces(table: Table) -> list[range]:
    """The positions of the columns that stand beside each other: no more than fit a printed page, groups (of one size) whole."""
    size = table.groups.count(table.groups[0]) if table.groups else 1
    step = max(1, BESIDE // size) * size
    return [range(i, min(i + step, len(table.columns))) for i in range(0, len(table.columns), step)]


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _color(look: Style) -> str:
    """A look's colour; black and grey are those of the text, which a dark page has light."""
    return {"#000000": "var(--ink)", SOFT: "var(--soft)"}.get(look.color, look.color)


def _dash(look: Style) -> str:
    return "" if isinstance(look.linestyle, str) else " ".join(f"{2 * length:g}" for length in look.linestyle[1])


def leaderboard(analysis: Analysis, looks: dict[str, Style], table: Table) -> dict[str, Any]:
    """The leaderboard's columns, and rows of text with the number that each entry sorts by and a forest plot's geometry."""
    numbers = table.numbers
    spans = numbers[["low", "high"]].dropna()
    reach = float(spans.abs().to_numpy().max()) if len(spans) else 0.0

    sorts = {column.name: column.fields[0] for column in LEADERBOARD}

    def key(label: str, column: str) -> float | None:
        number = cells.number(numbers, label, sorts[column])
        return number if np.isfinite(number) else None

    def forest(label: str) -> dict[str, float] | None:
        if label not in spans.index or not reach:
            return None
        points = {name: cells.number(numbers, label, name) for name in ("low", "difference", "high")}
        return {name: round(60 + 55 * point / reach, 1) for name, point in points.items()}

    rows = [
        {
            "label": label,
            "color": _color(looks[label]),
            "oracle": label in analysis.oracles,
            "entries": [(entry.text, key(label, column)) for entry, column in zip(row, table.columns, strict=True)],
            "forest": forest(label),
        }
        for label, row in table.rows
    ]
    return {"columns": table.columns, "rows": rows, "caption": table.caption, "control": analysis.control, "reach": round(reach, 1)}


def protocol(runs: pd.DataFrame) -> list[str]:
    """How the runs were made, in words."""
    trained = runs[runs["trained"]]
    datasets = runs.drop_duplicates("dataset").sort_values("dataset")
    listed = ", ".join(f"{d.dataset} ({d.num_classes:.0f} classes, {d.num_test:.0f} test images)" for d in datasets.itertuples())
    lines = [f"Backbone {runs['backbone'].iloc[0]}; {counted(len(datasets), 'dataset')}: {listed}."]
    if len(trained):
        first = trained.iloc[0]
        shots = f"{counted(int(first['shots']), 'shot')} per class" if first["shots"] else "All training images"
        seeds = ", ".join(str(seed) for seed in sorted(trained["seed"].unique()))
        noise = ", ".join(cells.setting_name(str(n), r) for n, r in cells.settings(runs).itertuples(index=False))
        lines.append(f"{shots}, {counted(int(first['views']), 'augmented view')} of each; seeds {seeds}; noise settings: {noise}.")
        for text, rows in trained.groupby("train"):
            fields = ", ".join(f"{name} {_shown(value)}" for name, value in labels.protocol(str(text)).items())
            names = sorted(rows["label"].unique())
            who = "all methods" if len(names) == trained["label"].nunique() else ", ".join(names)
            said = fields if rows["epochs"].iloc[0] else "no step, only the shots are seen"
            lines.append(f"Training protocol of {who}: {said}.")
    if len(trained) and (trained["noise_digest"] != "").all():
        same = "the same shots with the same labels at every dataset, noise setting and seed, and a dataset's one test set"
        lines.append(f"Checked by stored digests: all methods saw {same} and zero-shot accuracy.")
    lines.append("By construction, batch order and whatever is drawn of an initial context follow from seed and dataset alone.")
    lines.append("Accuracy is that of the last epoch on the full test set; nothing is chosen on test.")
    return lines


def drill_down(analysis: Analysis, records: str) -> dict[str, Any]:
    """Every run behind the numbers, as columns: positions of its method, dataset and setting, its seed, accuracy and id."""
    runs = analysis.every.sort_values(["label", "dataset", "rate", "seed"])
    labels = [*analysis.labels, *sorted(set(runs["label"]) - set(analysis.labels))]
    settings = [cells.setting_name(str(n), r) for n, r in cells.settings(runs).itertuples(index=False)]
    datasets = sorted(runs["dataset"].unique())
    here = [cells.setting_name(n, r) for n, r in runs[["noise", "rate"]].itertuples(index=False)]
    return {
        "labels": labels,
        "datasets": datasets,
        "settings": settings,
        "records": records,
        "runs": list(
            zip(
                runs["label"].map({name: i for i, name in enumerate(labels)}).tolist(),
                runs["dataset"].map({name: i for i, name in enumerate(datasets)}).tolist(),
                [settings.index(name) for name in here],
                runs["seed"].tolist(),
                runs["accuracy"].round(2).tolist(),
                runs["run_id"].tolist(),
                strict=True,
            )
        ),
    }


def curves(analysis: Analysis, looks: dict[str, Style]) -> dict[str, Any]:
    """Accuracy against noise for the chart whose methods can be toggled: the mean over datasets, then each dataset."""
    runs = cells.of_protocol(analysis.runs[analysis.runs["label"].isin(analysis.trained)], analysis.protocol)
    rates, front = sorted(float(rate) for rate in runs["rate"].unique()), highlighted(analysis)
    keys = ["label", "dataset", "rate"]
    table = runs.groupby(keys)["accuracy"].mean().unstack("rate").reindex(columns=rates)  # noqa: PD010 - nothing is aggregated
    numbers = {str(label): np.vstack([one.mean(), one.loc[analysis.datasets]]) for label, one in table.groupby(level=0)
               for one in [one.droplevel(0)]}  # fmt: skip
    zero_shot = [analysis.mean_zero_shot, *map(float, analysis.zero_shot[analysis.datasets])]
    return {
        "datasets": ["mean over datasets", *analysis.datasets],
        "rates": rates,
        "zero_shot": [_finite(number) for number in zero_shot],
        "lines": [
            {"label": label, "color": _color(looks[label]), "dash": _dash(looks[label]), "front": label in front,
             "values": [[_finite(number) for number in row] for row in numbers[label]]}
            for label in analysis.trained
        ],
    }  # fmt: skip


def _finite(number: float) -> float | None:
    return round(float(number), 2) if np.isfinite(number) else None


def records_address(results: Path, folder: Path) -> str:
    """The store's `runs` folder as seen from the report's folder; "" for an exported file."""
    runs = results / "runs"
    return Path(os.path.relpath(runs.resolve(), folder.resolve())).as_posix() if runs.is_dir() else ""
