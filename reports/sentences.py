"""What a report says in words. Every sentence follows from numbers by a rule that a test knows."""

import numpy as np
import pandas as pd

from reports import cells, statistics
from reports.analysis import ZERO_SHOT, Analysis, Choices, analyse
from reports.tables import p_equals, p_text


def headline(frame: pd.DataFrame, choices: Choices | None = None) -> list[str]:
    """Two plain sentences: who is best under noise and whether that is more than chance, and what noise costs the control.

    Args:
        frame: As `bench.results.load` gives it.
        choices: As for a report.

    Raises:
        BenchError: As `analyse`.
    """
    return headline_of(analyse(frame, choices))


def headline_of(analysis: Analysis) -> list[str]:
    """`headline`, from an analysis."""
    return [_best(analysis), _cost(analysis)]


def noise_range(analysis: Analysis) -> str:
    """The rates that the score counts, in words."""
    rates = sorted(cells.scored(analysis.runs, analysis.protocol)["rate"].unique())
    if rates[-1] == 0:
        return "on clean labels"
    shown = f"{100 * rates[0]:g}" if len(rates) == 1 else f"{100 * rates[0]:g} to {100 * rates[-1]:g}"
    return f"under {analysis.protocol} noise of {shown} %"


def _best(analysis: Analysis) -> str:
    best, control = analysis.ranked[0], analysis.control
    place = f"Over {len(analysis.datasets)} dataset{'s' * (len(analysis.datasets) > 1)} {noise_range(analysis)}"
    start = f"{place}, {best} has the highest mean accuracy, {float(analysis.scores[best].mean()):.1f} %"
    if not control or len(analysis.ranked) < 2:
        return f"{start}."
    other = analysis.ranked[1] if best == control else control
    row = analysis.versus.T[other if best == control else best]
    sign = -1 if best == control else 1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    interval = f" (95 % interval over datasets {low:.1f} to {high:.1f})" if np.isfinite(low) else ""
    return f"{start}: {sign * row['difference']:.1f} points above {other}{interval}; {significance(analysis, row['p_holm'])}."


def significance(analysis: Analysis, p: float) -> str:
    """What an adjusted p means here, and whether it could have meant anything else."""
    least = min(1.0, statistics.smallest_p(len(analysis.datasets)) * len(analysis.versus))
    if p <= statistics.ALPHA:
        return f"significant (Wilcoxon, Holm-adjusted {p_equals(p)})"
    if least > statistics.ALPHA:
        return f"too few datasets for any significance (the smallest attainable p is {p_text(least)} after Holm)"
    return f"not significant (Wilcoxon, Holm-adjusted {p_equals(p)})"


def _cost(analysis: Analysis) -> str:
    mean = cells.wide(cells.of_protocol(analysis.runs, analysis.protocol), "rate")
    trained = [label for label in analysis.ranked if label != ZERO_SHOT] or analysis.ranked
    shown = analysis.control if analysis.control in trained else trained[0]
    first, last = float(mean.index[0]), float(mean.index[-1])
    zero_shot = float(analysis.zero_shot.mean())
    above = sum(cells.number(mean, last, label) > zero_shot for label in trained)
    change = f"{shown} reaches {cells.number(mean, last, shown):.1f} %"
    if first < last:
        change = (
            f"{shown} goes from {cells.number(mean, first, shown):.1f} % at {100 * first:g} % noise "
            f"to {cells.number(mean, last, shown):.1f} % at {100 * last:g} %"
        )
    return f"{change}, where {above} of {len(trained)} trained methods are above zero-shot ({zero_shot:.1f} %)."
