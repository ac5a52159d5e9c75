"""One look for every figure: sizes for print, and a colour, line and marker per registered method that never change."""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import matplotlib as mpl

WIDTHS = (3.25, 5.5, 6.9)  # inches: a column of two, NeurIPS's text, a page of two columns
MOST = 8  # highlighted methods in one panel; the others are grey
# Okabe and Ito's colours without the yellow, which vanishes on white: distinguishable under the common colour blindnesses.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C510A")
LINES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1, 1)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (1, 2.5)),
    (0, (4, 1, 1, 1, 1, 1)),
)
FILLS = ("full", "none", "left", "right", "top", "bottom")  # of markers
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
GREY, SOFT = "#B8B8B8", "#555555"
# The order gives the looks, so names are only ever added at the end. Plugins' names are hashed.
KNOWN = (
    "dspt", "mae", "gce", "sce", "nlprompt", "joapr", "rce", "elr", "clipcleaner", "co_teaching", "dspt_t",
    "label_smoothing", "bootstrap_soft", "nce_rce", "nce_mae", "agce", "phuber_ce", "taylor_ce", "js", "gjs", "mixup", "deft_text",
    "mae_lse", "clean_only", "co_teaching_oracle",
    "ael", "anl_ce", "aul", "clap", "dividemix", "eps_softmax", "focal", "jal_ce", "jocor", "logit_clip", "nce", "nce_ael",
    "nce_agce", "nce_aul", "sat", "selc", "sop", "ssr", "tecoprompt", "tip_adapter", "dkaf_text",
)  # fmt: skip
FIXED = {"coop_ce": ("#000000", "-", "o"), "zero_shot": (SOFT, "--", "")}

RC: Any = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titley": 1.0,  # else every panel is laid out once more for its title
    "text.parse_math": False,  # names are text, whatever signs they hold
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.6,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # text stays text in print
    "svg.fonttype": "none",
}


class Style(NamedTuple):
    """How a method is drawn."""

    color: str
    linestyle: Any
    marker: str
    fillstyle: str = "full"

    @property
    def line(self) -> dict[str, Any]:
        """As keyword arguments of `Axes.plot`."""
        return self._asdict()


def look(method: str, variant: int = 0) -> Style:
    """The look of a registered method; its further variants (other hyper-parameters, other training) change line and filling."""
    fill = FILLS[variant % len(FILLS)]
    if method in FIXED:
        color, line, marker = FIXED[method]
        return Style(color, line if variant == 0 else LINES[variant % len(LINES)], marker, fill)
    i = KNOWN.index(method) if method in KNOWN else zlib.crc32(method.encode())
    return Style(COLOURS[i % len(COLOURS)], LINES[(i // len(COLOURS) + variant) % len(LINES)], MARKERS[i % len(MARKERS)], fill)


def styles(methods: Mapping[str, str]) -> dict[str, Style]:
    """The looks of labels, from the registered names of their methods."""
    seen: dict[str, int] = {}
    looks = {}
    for label, method in methods.items():
        looks[label] = look(method, seen.get(method, 0))
        seen[method] = seen.get(method, 0) + 1
    return looks


def in_style() -> Any:
    """A context in which figures are made and saved."""
    return mpl.rc_context(RC)
