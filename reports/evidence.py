"""Tables and sentences of what the scores prove: gains run by run, tests per rate, all pairs, and the errors they rest on."""

import itertools

import numpy as np
import pandas as pd

from bench.results.frame import Results
from reports import bayes, cells, friedman, gains, statistics
from reports.analysis import Analysis
from reports.board import leaderboard_table
from reports.sentences import equivalence
from reports.tables import Entry, Table, dataset_table, gain_table, noise_table, standard_errors
from reports.wording import counted, p_equals, p_text, span, value


def per_rate_table(analysis: Analysis) -> Table:
    """Secondary: every method against the control at every noise setting, Holm over all of these tests together."""
    shown, blocks = [], []
    for noise, rate in cells.settings(analysis.runs).itertuples(index=False):
        scores = cells.by_seed(cells.at(analysis.runs, str(noise), rate), analysis.ranked)
        shown.append(cells.setting_name(str(noise), rate))
        blocks.append(statistics.control_p(scores, analysis.control))
    numbers = pd.concat(blocks, keys=shown, names=["setting"]).reset_index().rename(columns={"label": "method"})
    numbers["p_holm"] = statistics.holm(numbers["p"].to_numpy(dtype=float))
    columns = numbers[["method", "setting", "difference", "p_holm"]].itertuples(index=False)
    text = {(method, setting): f"{value(d, signed=True)} ({p_equals(p)})" for method, setting, d, p in columns}
    rows = [(label, [Entry(text[label, name]) for name in shown]) for label in analysis.ranked if label != analysis.control]
    caption = (
        f"Secondary: difference to {analysis.control} in points at each setting, exact Wilcoxon over "
        f"{counted(len(analysis.datasets), 'dataset')} (and shared seeds), p adjusted by Holm over "
        f"{counted(len(numbers), 'test')}, all of this table. "
        f"{statistics.attainable(len(analysis.datasets), len(numbers))}"
    )
    return Table("tests_per_rate", "Tests per noise setting", caption, shown, rows, numbers.set_index("method"))


def gains_table(analysis: Analysis) -> Table:
    """Interquartile and plain mean of the gain over zero-shot, with intervals, and the probability of improving on the control."""
    found = gains.gains_of(analysis.runs, analysis.protocol, analysis.labels)
    numbers = gains.summary(found, analysis.control)
    columns = ["IQM", "95 %, rerunning", "mean", "95 %, other datasets"]
    columns += [f"P(improves on {analysis.control})"] * bool(analysis.control)

    def texts(row: pd.Series) -> list[str]:
        spans = [span(row[f"{k}_low"], row[f"{k}_high"]) for k in ("seeds", "datasets")]
        shown = [value(row["iqm"], signed=True), spans[0], value(row["mean"], signed=True), spans[1]]
        return shown + ([value(row["improvement"], digits=2)] if analysis.control else [])

    rows = [(label, [Entry(text) for text in texts(numbers.T[label])]) for label in found.labels]
    caption = (
        f"Gain over zero-shot in points, run by run: {counted(found.points[0].size, 'run')} per method. IQM: interquartile mean. "
        f"The first "
        f"interval is what rerunning gives (t over {counted(found.points.shape[3], 'seed')}, each one draw for all datasets; "
        f"none below 3), "
        "the second what other datasets would give (none below 6)."
    )
    return Table("gains", "Gain over zero-shot, run by run", caption, columns, rows, numbers.rename_axis("method"))


def pairs_table(analysis: Analysis) -> Table:
    """All pairs of ranked methods: difference, exact Wilcoxon with Holm over the pairs, posterior."""
    pairs, margin = list(itertools.combinations(analysis.ranked, 2)), analysis.choices.margin
    points = cells.by_seed(cells.scored(analysis.runs, analysis.protocol), analysis.ranked)
    adjusted, means = statistics.all_pairs(points), statistics.seed_means(points)
    enough = len(points) >= statistics.FEWEST
    numbers, rows = [], []
    for first, second in pairs:
        d = (means[first] - means[second]).to_numpy(dtype=float)
        p = cells.number(adjusted, first, second)
        posterior = bayes.signed_rank(d, margin) if enough else bayes.Posterior(np.nan, np.nan, np.nan)
        numbers.append({"first": first, "second": second, "difference": d.mean(), "p_holm": p, **posterior._asdict()})
        chances = [Entry(value(chance, digits=2)) for chance in posterior]
        rows.append((f"{first} – {second}", [Entry(value(float(d.mean()), signed=True)), Entry(p_text(p)), *chances]))
    caption = (
        f"All pairs over {counted(len(analysis.datasets), 'dataset')}. {statistics.attainable(len(analysis.datasets), len(pairs))}"
    )
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
    rows = [(key, [Entry(value(x)) for x in row]) for key, row in zip(keys, values, strict=True)]
    cited = sorted(frame["citation"].dropna().unique())
    caption = f"Published elsewhere, not run here: other shots, seeds or weights may lie behind them. {'; '.join(cited)}"
    return Table("published", "Published elsewhere", caption, settings, rows, numbers[settings])


def all_tables(analysis: Analysis, columns: tuple[str, ...] = (), pairs: bool = False) -> list[Table]:
    """Every table of a report, the leaderboard and the methods by noise first."""
    by_noise = noise_table(analysis)
    tables = [leaderboard_table(analysis, columns), by_noise]
    if analysis.trained and analysis.zero_shot.notna().all():
        tables.append(gains_table(analysis))
    means = by_noise.numbers.iloc[:, : len(by_noise.columns)]
    tables += [gain_table(analysis, means, over) for over in dict.fromkeys((analysis.untuned, analysis.control)) if over]
    tables += [groups_table(analysis)] if analysis.groups else []
    if len(analysis.versus):
        tables.append(per_rate_table(analysis))
    if pairs and len(analysis.ranked) > 1:
        tables.append(pairs_table(analysis))
    settings = cells.settings(analysis.every).itertuples(index=False)
    return tables + [dataset_table(analysis, str(noise), rate) for noise, rate in settings]


def groups_table(analysis: Analysis) -> Table:
    """Score, and difference to the control with its adjusted p, within every group of datasets."""
    columns, numbers, above = [], [], []
    for name, part in analysis.groups.items():
        found = pd.DataFrame({"score": part.scores.mean()}).join(part.versus)
        shown = found.reindex(analysis.labels).reindex(columns=["score", "difference", "p_holm"])
        columns += ["score", "difference", "p (Holm)"][: 3 if part.control else 1]
        above += [f"{name} ({counted(len(part.datasets), 'dataset')})"] * (3 if part.control else 1)
        numbers.append(shown.add_prefix(f"{name} "))
    table = pd.concat(numbers, axis=1).rename_axis("method")

    def texts(label: str) -> list[str]:
        found = []
        for name, part in analysis.groups.items():
            score, difference, p = (cells.number(table, label, f"{name} {what}") for what in ("score", "difference", "p_holm"))
            found += [value(score), value(difference, signed=True), p_text(p)][: 3 if part.control else 1]
        return found

    rows = [(label, [Entry(text) for text in texts(label)]) for label in analysis.labels]
    tests = f"; differences and tests against {analysis.control}, Holm within each group" if analysis.control else ""
    caption = f"Scores by {analysis.choices.group}{tests}."
    return Table("groups", f"By {analysis.choices.group}", caption, columns, rows, table, above)


def errors(analysis: Analysis) -> str:
    """The three sources of error, named apart."""
    runs = cells.scored(analysis.runs, analysis.protocol)
    trained = runs[runs["trained"]] if runs["trained"].any() else runs
    groups = trained.groupby(["label", "dataset", "rate"])["accuracy"]
    mean = trained.pivot_table(index="label", columns="dataset", values="accuracy")
    images = trained.groupby("dataset")["num_test"].first()
    sampling = float(standard_errors(mean, mean * 0, mean * 0 + 1, images).to_numpy().mean())
    centred = analysis.scores[analysis.ranked].sub(analysis.scores[analysis.ranked].mean(axis=1), axis=0)
    spread = float(centred.std().mean()) if len(analysis.ranked) > 1 else float("nan")
    seeds = groups.std().mean()
    return (
        f"Three errors: of a test set (median {images.median():.0f} images), {_points(sampling)} per dataset; of seeds, "
        f"{_points(seeds)} (standard deviation of one run); between datasets, {_points(spread)} (standard deviation of a method's "
        f"difference to the mean method). {shared_seeds(analysis)}"
    )


def shared_seeds(analysis: Analysis) -> str:
    """How much of a seed's luck is common to all datasets: seed × method, as a sentence."""
    points = cells.by_seed(cells.scored(analysis.runs, analysis.protocol), analysis.labels)
    if analysis.runs["seed"].nunique() < 2:
        return "With one seed an effect of the seed that all datasets share cannot be told from the method's."
    share = np.sqrt(statistics.shared_seeds(statistics.cubes(points)).variance)
    return (
        f"Of the seeds' error {share:.2f} points are shared by all datasets (0 where each has its own draws); the tests count them."
    )


def _points(number: float) -> str:
    return f"{number:.1f} points" if np.isfinite(number) else "unknown (there are too few)"


def statistics_lines(analysis: Analysis) -> list[str]:
    """The tests in words, a paragraph each."""
    scores = analysis.scores[analysis.ranked]
    n, k = scores.shape
    lines = []
    if k >= 3 and n >= statistics.FEWEST:
        test = friedman.friedman(scores.to_numpy())
        f = f"F({test.df[0]}, {test.df[1]}) = {test.statistic:.2f}, {p_equals(test.p)}"
        same = "all datasets order the methods alike, p < 0.0001"
        question = f"Do the {k} ranked methods differ at all? Friedman's test with Iman and Davenport's correction: "
        lines.append(f"{question}{f if np.isfinite(test.statistic) else same}.")
    if len(analysis.versus):
        lines.append(statistics.attainable(n, len(analysis.versus)))
        apart = list(analysis.versus.index[analysis.versus["claim"] == "disagree"])
        if apart:
            lines.append(
                f"For {', '.join(apart)} the mean and the typical dataset disagree about the direction, so nothing is claimed."
            )
    lines += equivalence(analysis)
    lines.append(errors(analysis))
    lines.append(
        "The dataset is the experimental unit. Tests over dataset × rate or over single runs are not offered: repeated measures on "
        "the same images would make 20 to 60 % false positives out of a nominal 5 %."
    )
    return lines
