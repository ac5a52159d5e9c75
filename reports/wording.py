"""How numbers are written: the same in tables, sentences and captions. Never "-0.0", "nan", "inf" or "1 datasets"."""

import numpy as np

MISSING = "–"


def value(mean: float, std: float = float("nan"), signed: bool = False, digits: int = 1) -> str:
    """A number's text: "72.3 ± 0.4", "+1.2", a dash where there is nothing; never "-0.0"."""
    if not np.isfinite(mean):
        return MISSING
    shown = f"{round(mean, digits) + 0.0:{'+' if signed else ''}.{digits}f}"
    return shown if not np.isfinite(std) else f"{shown} ± {std:.{digits}f}"


def span(low: float, high: float) -> str:
    """An interval of differences: "-0.3 to +1.2", a dash where there is none."""
    return f"{value(low, signed=True)} to {value(high, signed=True)}" if np.isfinite([low, high]).all() else MISSING


def p_text(p: float) -> str:
    """A p value with two digits, never 0."""
    return MISSING if np.isnan(p) else f"{p:.2g}" if p >= 1e-4 else "<0.0001"


def p_equals(p: float) -> str:
    """As in a sentence: "p = 0.012", "p < 0.0001"."""
    return f"p = {p_text(p)}".replace("= <", "< ")


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 dataset", "6 datasets"."""
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(names: list[str], most: int = 4) -> str:
    """Names in a sentence, the first few of many: "a, b and 3 more"."""
    shown = names[:most] if len(names) > most + 1 else names
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(shown) < len(names) else "")
