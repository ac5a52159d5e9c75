"""Tables and sentences of what the scores prove: gains run by run, tests per rate, all pairs, and the errors they rest on."""

import itertools

import numpy as np
import pandas as pd

from bench.results.frame import Results
from reports import bayes, cells, gains, statistics
from reports.analysis import ZERO_SHOT, Analysis
from reports.tables import (
    Cell,
    Table,
    dataset_table,
    gain_table,
    leaderboard_table,
    noise_table,
    p_equals,
    p_text,
    standard_errors,
    value,
)


def per_rate_table(analysis: Analysis) -> Table:
    """Secondary: every method against the control at every noise setting, Holm over all of these tests together."""
    shown, blocks = [], []
    for noise, rate in cells.settings(analysis.runs).itertuples(index=False):
        scores = cells.wide(cells.at(analysis.runs, str(noise), rate))[analysis.ranked]
        shown.append(cells.setting_name(str(noise), rate))
        blocks.append(statistics.against_control(scores, analysis.control, analysis.choices.margin)[["difference", "p"]])
    numbers = pd.concat(blocks, keys=shown, names=["setting"]).reset_index().rename(columns={"label": "method"})
    numbers["p_holm"] = statistics.holm(numbers["p"].to_numpy(dtype=float))
    columns = numbers[["method", "setting", "difference", "p_holm"]].itertuples(index=False)
    text = {(method, setting): f"{value(d, signed=True)} ({p_equals(p)})" for method, setting, d, p in columns}
    rows = [(label, [Cell(text[label, name]) for name in shown]) for label in analysis.ranked if label != analysis.control]
    caption = (
        f"Secondary: difference to {analysis.control} in points at each setting, exact Wilcoxon over {len(analysis.datasets)} "
        f"datasets, p adjusted by Holm over all {len(numbers)} tests of this table. "
        f"{statistics.attainable(len(analysis.datasets), len(numbers))}"
    )
    return Table("tests_per_rate", "Tests per noise setting", caption, shown, rows, numbers.set_index("method"))


def gains_table(analysis: Analysis) -> Table:
    """Interquartile mean of the gain over zero-shot with both bootstraps, and the probability of improving on the control."""
    found = gains.gains_of(analysis.runs, analysis.protocol, analysis.labels)
    numbers = gains.summary(found, analysis.control)
    seeds = found.points.shape[3]
    columns = ["IQM", "95 %, rerunning", "95 %, other datasets"] + [f"P(improves on {analysis.control})"] * bool(analysis.control)

    def texts(row: pd.Series) -> list[str]:
        spans = [f"{value(row[f'{k}_low'], signed=True)} to {value(row[f'{k}_high'], signed=True)}" for k in ("seeds", "datasets")]
        chance = "–" if np.isnan(row["improvement"]) else f"{row['improvement']:.2f}"
        return [value(row["iqm"], signed=True), *spans, *([chance] if analysis.control else [])]

    rows = [(label, [Cell(text) for text in texts(numbers.T[label])]) for label in found.labels]
    caption = (
        f"Gain over zero-shot in points, run by run: {found.points[0].size} runs per method. The first interval resamples seeds "
        f"(what rerunning gives; {seeds} seeds have only {gains.distinct_resamples(seeds)} distinct resamples), the second whole "
        "datasets (what others would give)."
    )
    return Table("gains", "Gain over zero-shot, run by run", caption, columns, rows, numbers.rename_axis("method"))


def pairs_table(analysis: Analysis) -> Table:
    """All pairs of ranked methods: difference, exact Wilcoxon with Holm over the pairs, posterior."""
    scores, pairs = analysis.scores, list(itertools.combinations(analysis.ranked, 2))
    adjusted, margin = statistics.all_pairs(scores[analysis.ranked]), analysis.choices.margin
    numbers, rows = [], []
    for first, second in pairs:
        d = (scores[first] - scores[second]).to_numpy(dtype=float)
        posterior, p = bayes.signed_rank(d, margin), cells.number(adjusted, first, second)
        numbers.append({"first": first, "second": second, "difference": d.mean(), "p_holm": p, **posterior._asdict()})
        chances = [Cell(f"{chance:.2f}") for chance in posterior]
        rows.append((f"{first} – {second}", [Cell(value(float(d.mean()), signed=True)), Cell(p_text(p)), *chances]))
    caption = f"All pairs over {len(analysis.datasets)} datasets. {statistics.attainable(len(analysis.datasets), len(pairs))}"
    columns = ["difference", "p (Holm)", "P(worse)", "P(equivalent)", "P(better)"]
    return Table("pairs", "All pairs", caption, columns, rows, pd.DataFrame(numbers).set_index("first"))


def published_table(results: Results) -> Table | None:
    """Numbers that others have published, as imported: beside the runs, in no average and in no test. None where there are none."""
    frame = results.frame[results.frame["source"] == "published"]
    if frame.empty:
        return None
    frame = frame.assign(
        setting=[cells.setting_name(noise, rate) for noise, rate in frame[["noise", "rate"]].itertuples(index=False)]
    )
    numbers = frame.pivot_table(index=["label", "dataset"], columns="setting", values="accuracy", aggfunc="mean")
    settings = [str(name) for name in frame.sort_values(["rate", "noise"])["setting"].unique()]
    keys = [f"{label} (published), {dataset}" for label, dataset in numbers.index]
    values = numbers[settings].to_numpy(dtype=float).tolist()
    rows = [(key, [Cell(value(x)) for x in row]) for key, row in zip(keys, values, strict=True)]
    cited = sorted(set(frame["citation"]))
    caption = f"Published elsewhere, not run here: other shots, seeds or weights may lie behind them. {'; '.join(cited)}"
    return Table("published", "Published elsewhere", caption, settings, rows, numbers[settings])


def all_tables(analysis: Analysis, columns: tuple[str, ...] = (), pairs: bool = False) -> list[Table]:
    """Every table of a report, the leaderboard and the methods by noise first."""
    tables = [leaderboard_table(analysis, columns), noise_table(analysis)]
    if analysis.runs["trained"].any():
        tables.append(gains_table(analysis))
    tables += [gain_table(analysis, over) for over in dict.fromkeys((ZERO_SHOT, analysis.control)) if over in analysis.scores]
    if len(analysis.versus):
        tables.append(per_rate_table(analysis))
    if pairs:
        tables.append(pairs_table(analysis))
    settings = cells.settings(analysis.every).itertuples(index=False)
    return tables + [dataset_table(analysis, str(noise), rate) for noise, rate in settings]


def equivalence(analysis: Analysis) -> list[str]:
    """The Bayesian verdicts on the best method against the next, and on whatever is practically equivalent to the best."""
    best, *others = analysis.ranked
    margin, found = analysis.choices.margin, []
    for i, other in enumerate(others):
        posterior = bayes.signed_rank((analysis.scores[best] - analysis.scores[other]).to_numpy(dtype=float), margin)
        if i == 0 or bayes.verdict(posterior) == "equivalent":
            found.append(bayes.sentence(best, other, posterior, margin))
    return found


def errors(analysis: Analysis) -> str:
    """The three sources of error, named apart."""
    runs = cells.scored(analysis.runs, analysis.protocol)
    trained = runs[runs["trained"]] if runs["trained"].any() else runs
    groups = trained.groupby(["label", "dataset", "rate"])["accuracy"]
    mean = trained.pivot_table(index="label", columns="dataset", values="accuracy")
    images = trained.groupby("dataset")["num_test"].first()
    sampling = float(standard_errors(mean, mean * 0, mean * 0 + 1, images).to_numpy().mean())
    spread = float(analysis.scores[analysis.ranked].sub(analysis.scores[analysis.ranked].mean(axis=1), axis=0).std().mean())
    seeds = groups.std().mean()
    return (
        f"Three errors: of a test set (median {images.median():.0f} images), {_points(sampling)} per dataset; of seeds, "
        f"{_points(seeds)} (standard deviation of one run); between datasets, {_points(spread)} (standard deviation of a method's "
        "difference to the mean method). The tests over datasets contain all three."
    )


def _points(number: float) -> str:
    return f"{number:.1f} points" if np.isfinite(number) else "unknown (there is only one)"


def statistics_lines(analysis: Analysis) -> list[str]:
    """The tests in words, a paragraph each."""
    scores = analysis.scores[analysis.ranked]
    n, k = scores.shape
    lines = []
    if k >= 3 and n >= 2:
        test = statistics.friedman(scores.to_numpy())
        f = f"F({test.df[0]}, {test.df[1]}) = {test.statistic:.2f}, {p_equals(test.p)}"
        lines.append(f"Do the {k} ranked methods differ at all? Friedman's test with Iman and Davenport's correction: {f}.")
    if len(analysis.versus):
        lines.append(statistics.attainable(n, len(analysis.versus)))
    lines += equivalence(analysis)
    lines.append(errors(analysis))
    lines.append(
        "The dataset is the experimental unit. Tests over dataset × rate or over single runs are not offered: repeated measures on "
        "the same images would make 20 to 60 % false positives out of a nominal 5 %."
    )
    return lines
