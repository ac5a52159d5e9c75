"""What a report says in words. Every sentence follows from numbers by a rule that a test knows."""

from typing import Any

import numpy as np

from reports import bayes, cells, friedman, labels, statistics
from reports.analysis import Analysis, Source, analyse
from reports.choices import Choices, with_options
from reports.wording import counted, p_equals, p_text, value

EXACT = 1e-9  # points: what sums of the same accuracies differ by
START_MARGIN = 5.0  # points below zero-shot from which a start is called wrong


def headline(results: Source, choices: Choices | None = None, **options: Any) -> list[str]:
    """Plain sentences: who is best under noise and whether that is more than chance, what noise costs, where runs start.

    >>> best, *_ = headline("results/reference", where={"method": ["dspt", "coop_ce", "zero_shot"]})
    >>> best.partition(" has the highest mean accuracy")[0]
    'Over 36 datasets under symmetric noise of 25 to 75 %, DSPT'

    Args:
        results: A path, what `load` gives, or its frame.
        choices: As for a report.
        **options: Fields of `Choices`.

    Raises:
        BenchError: As `analyse`.
    """
    return headline_of(analyse(results, with_options(choices, options)))


def headline_of(analysis: Analysis) -> list[str]:
    """`headline`, from an analysis; with groups a sentence for each."""
    parts = [f"{analysis.choices.group} = {name}: {_best(part)}" for name, part in analysis.groups.items()]
    mixed = [f"Not one training protocol: {note}." for note in analysis.mixed]
    return [*mixed, _best(analysis), *parts, *_cost(analysis), *start(analysis)]


def noise_range(analysis: Analysis) -> str:
    """The rates that the score counts, in words."""
    rates = sorted(cells.scored(analysis.runs, analysis.protocol)["rate"].unique())
    if rates[-1] == 0:
        return "on clean labels"
    shown = f"{100 * rates[0]:g}" if len(rates) == 1 else f"{100 * rates[0]:g} to {100 * rates[-1]:g}"
    return f"under {analysis.protocol} noise of {shown} %"


def _best(analysis: Analysis) -> str:
    best, control = analysis.ranked[0], analysis.control
    place = f"Over {counted(len(analysis.datasets), 'dataset')} {noise_range(analysis)}"
    score = value(float(analysis.scores[best].mean()))
    if len(analysis.ranked) == 1:
        return f"{place}, {best}, the only method that competes, has a mean accuracy of {score} %."
    start = f"{place}, {best} has the highest mean accuracy, {score} %"
    if not control:
        return f"{start}."
    other = analysis.ranked[1] if best == control else control
    row = analysis.versus.T[other if best == control else best]
    sign = -1 if best == control else 1
    ends = sorted((sign * row["low"], sign * row["high"]))
    interval = f" (95 % interval over datasets {value(ends[0])} to {value(ends[1])})" if np.isfinite(ends).all() else ""
    return f"{start}: {_above(sign * row['difference'])} {other}{interval}; {significance(analysis, row)}."


def _above(points: float) -> str:
    """How far the highest mean is above another."""
    if abs(points) < EXACT:
        return "equal to"
    return f"{value(points) if points >= 0.05 else 'less than 0.1'} points above"  # 0.05 is what is written as 0.1


def significance(analysis: Analysis, row: Any) -> str:
    """What the test of a row against the control says, and whether it could have said anything else."""
    n = len(analysis.datasets)
    least = min(1.0, statistics.smallest_p(n) * len(analysis.versus))
    tested = f"Holm-adjusted {p_equals(row['p_holm'])}"
    if row["claim"] == "disagree":
        return f"but mean and typical dataset disagree (the ranks point the other way, {tested}), so nobody is ahead"
    if row["claim"] != "undecided":
        return f"significant ({tested})"
    if n < statistics.FEWEST or least > statistics.ALPHA:
        return f"too few datasets for any significance (the smallest attainable p is {p_text(least)} after Holm)"
    return f"not significant ({tested})"


def _cost(analysis: Analysis) -> list[str]:
    mean = cells.wide(cells.of_protocol(analysis.runs, analysis.protocol), "rate")
    trained = [label for label in analysis.ranked if label in analysis.trained]
    if not trained:
        return ["No method that competes trains anything."]
    shown = analysis.control if analysis.control in trained else trained[0]
    first, last = float(mean.index[0]), float(mean.index[-1])
    zero_shot = analysis.mean_zero_shot
    change = f"{shown} reaches {value(cells.number(mean, last, shown))} %"
    if first < last:
        change = (
            f"{shown} goes from {value(cells.number(mean, first, shown))} % at {100 * first:g} % noise "
            f"to {value(cells.number(mean, last, shown))} % at {100 * last:g} %"
        )
    if not np.isfinite(zero_shot):
        return [f"{change}."]
    above, methods = sum(cells.number(mean, last, label) > zero_shot for label in trained), counted(len(trained), "trained method")
    verb = "is" if 1 in (above, len(trained)) else "are"
    return [f"{change}, where {above} of {methods} {verb} above zero-shot ({value(zero_shot)} %)."]


def start(analysis: Analysis) -> list[str]:
    """A warning where runs start far below zero-shot: what methods presume, that the model is right at first, does not hold there.

    The rule: per dataset the median accuracy before the first step is compared with zero-shot; the median of these differences lies
    more than `START_MARGIN` points below 0.
    """
    runs = analysis.runs[analysis.runs["trained"] & analysis.runs["start"].notna()]
    if runs.empty:
        return []
    starts = runs.groupby("dataset")["start"].median()
    below = float((analysis.zero_shot[starts.index] - starts).median())
    if not below > START_MARGIN:
        return []
    where = f"median over {counted(len(starts), 'dataset')}; more than {START_MARGIN:g}"
    trust = "methods that trust the model at the start are tested where it is wrong"
    return [f"Runs start {value(below)} points below zero-shot ({where}): {trust}."]


def paste(analysis: Analysis) -> str:
    """A paragraph for a paper: data, tests, corrections, effects and assumptions."""
    n, k = len(analysis.datasets), len(analysis.ranked)
    data = f"We compare {counted(k, 'method')} on {counted(n, 'dataset')} {noise_range(analysis)} ({setup(analysis)})."
    parts = [data, _score(analysis), "The dataset is the experimental unit."]
    if k >= 3 and n >= statistics.FEWEST:
        test = friedman.friedman(analysis.scores[analysis.ranked].to_numpy())
        f = (
            "the methods' order is the same on all datasets"
            if np.isinf(test.statistic)
            else f"F({test.df[0]}, {test.df[1]}) = {test.statistic:.2f}"
        )
        parts.append(f"Friedman's test with Iman and Davenport's correction: {f}, {p_equals(test.p)}.")
    if analysis.control and n >= statistics.FEWEST:
        seeds = analysis.runs.loc[analysis.runs["trained"], "seed"].nunique()
        both = " and a t test that adds what seeds share over datasets, the larger p of the two" * (seeds > 1)
        parts.append(
            f"Each method is compared with {analysis.control} by a two-sided exact Wilcoxon signed-rank test over datasets "
            f"(zeros by "
            f"Pratt){both}; p values are adjusted by Holm for {counted(len(analysis.versus), 'comparison')} and called "
            f"significant at 5 % where "
            "the mean difference and the ranks agree in sign."
        )
        parts += [_effect(analysis, label) for label in analysis.versus.index[:3]]
        parts.append(
            f"Intervals are 95 % intervals of the mean over datasets (the wider of Student's t and the studentised bootstrap); P "
            f"is "
            f"the posterior of a Bayesian signed-rank test with a region of practical equivalence of "
            f"±{analysis.choices.margin:g} points, per "
            "pair. The tests assume datasets drawn independently and, for the signed ranks, differences that are symmetric under "
            "the null."
        )
    if n < statistics.FEWEST:
        parts.append(f"With {counted(n, 'dataset')} we report numbers and draw no conclusion about other datasets.")
    return " ".join(parts)


def _score(analysis: Analysis) -> str:
    runs = cells.scored(analysis.runs, analysis.protocol)
    over = [name for name, column in (("seeds", "seed"), ("noise rates", "rate")) if runs[column].nunique() > 1]
    last = " after the last epoch" * bool(analysis.trained)
    return f"A method's score on a dataset is its test accuracy{last}{', averaged over ' * bool(over)}{' and '.join(over)}."


def _effect(analysis: Analysis, label: str) -> str:
    row = analysis.versus.T[label]
    return (
        f"{label}: {value(row['difference'], signed=True)} points ({value(row['low'], signed=True)} to "
        f"{value(row['high'], signed=True)}), "
        f"{p_equals(row['p_holm'])}, {row['wins']:.0f}/{row['ties']:.0f}/{row['losses']:.0f} wins/ties/losses, P(equivalent) = "
        f"{row['p_equivalent']:.2f}."
    )


def setup(analysis: Analysis) -> str:
    """Backbone, shots, seeds, training and start in a phrase, for captions."""
    runs, trained = analysis.runs, analysis.runs[analysis.runs["trained"]]
    parts = [f"backbone {runs['backbone'].iloc[0]}"]
    if len(trained):
        shots, seeds = int(trained["shots"].iloc[0]), trained["seed"].nunique()
        parts += [f"{counted(shots, 'shot')} per class" if shots else "all training images", counted(seeds, "seed")]
    trained = trained[trained["epochs"] > 0]
    if len(trained):
        epochs = sorted(int(epochs) for epochs in trained["epochs"].unique())
        prompts = trained.loc[trained["tunes"] == "prompt", "train"].unique()
        starts = sorted({labels.protocol(train)["start"] for train in prompts})
        presets = set(trained["preset"].dropna()) - {""}
        parts.append(
            f"{' or '.join(map(str, epochs))} epoch{'s' * (epochs != [1])}"
            + (f" from {' or '.join(starts)}" if starts else "")
            + (f" (protocol {next(iter(presets))})" if len(presets) == 1 else "")
        )
    return ", ".join(parts)


def equivalence(analysis: Analysis) -> list[str]:
    """The Bayesian verdicts on the best method against the next, and on whatever is practically equivalent to the best."""
    if len(analysis.datasets) < statistics.FEWEST:
        return []
    best, *others = analysis.ranked
    margin, found = analysis.choices.margin, []
    for i, other in enumerate(others):
        posterior = bayes.signed_rank((analysis.scores[best] - analysis.scores[other]).to_numpy(dtype=float), margin)
        if i == 0 or bayes.verdict(posterior) == "equivalent":
            found.append(bayes.sentence(best, other, posterior, margin))
    return [*found, "Each P is of one pair by itself, without correction for many."] if found else []
