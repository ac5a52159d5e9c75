r"""Tables as LaTeX that fits: `table` within a column, `table*` across two, 8 pt type; needs \usepackage{booktabs,siunitx}.

A table's columns are laid out in panels, one below the other: as many columns as fit the width beside each other, those of a group
(a dataset) together where they can. What is too tall for a page goes on in further tables. Widths are measured in Computer Modern,
which is wider than the Times of most styles. Numbers of as many decimals stand in siunitx's S columns, all else to the right.
"""

import itertools
import math
import textwrap
from collections.abc import Iterable
from functools import cache

from reports.tables import TIED, Entry, Table
from reports.typesetting import SIZE, Format, format_of, text, width
from reports.wording import MISSING

COLUMN = 236.0  # points: the narrowest column of a style (CVPR's)
HIGH = 540.0  # points: what the lowest page (article's) has for a table
CAPTION, RULE = 12.0, 4.0  # points: a caption's line, in 10 pt type, and a rule with the space around it
BOLD = r"\fontseries{b}\selectfont "  # not extended, so that its digits are as wide as the others
LEADING, GAP = 9.5, 2.5  # points: of 8 pt type the lines, and on either side of a column
SIUNITX = (
    "mode=text,detect-weight,separate-uncertainty,retain-explicit-plus,retain-zero-uncertainty,tight-spacing,"
    "table-number-alignment=right,table-text-alignment=right"
)


def _texts(table: Table, column: int) -> tuple[str, ...]:
    return tuple(row[column].text for _, row in table.rows)


def _common(table: Table, columns: Iterable[int | None]) -> Format | None:
    """The format that fits several columns; None where one is text, or has other decimals."""
    texts = [_texts(table, i) for i in columns if i is not None]
    found = [format_of(column) for column in texts if set(column) != {MISSING}]
    formats = [one for one in found if one]
    if not formats or len(formats) < len(found) or len({one.decimals for one in formats}) > 1:
        return None
    signs, wholes, decimals, spreads = zip(*formats, strict=True)
    return Format(any(signs), max(wholes), decimals[0], max(spreads))


@cache
def _broken(words: str, room: float) -> list[str]:
    """Words in lines of at most `room` points, broken where words end; within a word only where it alone is wider."""
    for within in (False, True):
        for most in range(len(words), 1, -1):
            lines = textwrap.wrap(words, most, break_on_hyphens=False, break_long_words=within)
            if max(map(width, lines), default=0.0) <= room:
                return lines or [""]
    return [words]


def _heads(head: str, room: float) -> list[str]:
    """A column's head in lines, as narrow as its longest word."""
    words = head.replace("_", " ")
    return _broken(words, min(room, max(map(width, ["00000000", *words.split()]))))


def _widths(table: Table, room: float) -> list[float]:
    """What every column takes, with the gaps on its sides; a group's name, in lines, is no wider than `room`."""
    found = []
    for i, head in enumerate(table.columns):
        texts, numbers = _texts(table, i), format_of(_texts(table, i))
        found.append(max(map(width, [*_heads(head, room), numbers.widest if numbers else "", *texts])) + 2 * GAP)
    return found


def _panels(table: Table, widths: list[float], room: float) -> list[list[int]]:
    """The positions of the columns, panel by panel, such that what stands below each other fits, as wide as the widest."""
    if 2 * LEADING * len(table.rows) > HIGH:  # a panel per page
        return _laid_out(table, widths, room)
    for less in range(0, int(room), 4):
        panels = _laid_out(table, widths, room - less)
        stacks = [[i for i in stack if i is not None] for stack in itertools.zip_longest(*panels)]
        commons = [width(numbers.widest) + 2 * GAP if numbers else 0.0 for numbers in (_common(table, stack) for stack in stacks)]
        if sum(max(common, *(widths[i] for i in stack)) for common, stack in zip(commons, stacks, strict=True)) <= room:
            break
    return panels


def _laid_out(table: Table, widths: list[float], room: float) -> list[list[int]]:
    """The positions of the columns, panel by panel: groups stay whole where they fit, and long rows are split evenly."""
    above = table.groups or [""] * len(widths)
    units: list[list[int]] = []
    for i, group in enumerate(above):
        if units and table.groups and above[units[-1][-1]] == group:
            units[-1].append(i)
        else:
            units.append([i])
    pieces: list[list[int]] = []
    for unit in units:
        parts = 1
        while any(sum(widths[i] for i in piece) > room for piece in _even(unit, parts)) and parts < len(unit):
            parts += 1
        pieces += _even(unit, parts)
    panels: list[list[int]] = []
    for piece in pieces:
        if panels and sum(widths[i] for i in panels[-1] + piece) <= room:
            panels[-1] += piece
        else:
            panels.append(list(piece))
    return panels


def _even(items: list[int], parts: int) -> list[list[int]]:
    size = -(-len(items) // parts)
    return [items[i : i + size] for i in range(0, len(items), size)]


def _entry(entry: Entry, numbers: Format | None) -> str:
    """An entry of a column of numbers, or of text. To siunitx what is underlined is text, so it is filled up to the width."""
    shown = text(entry.text.replace(" ± ", "±"))
    if entry.mark == "tied":
        shown = rf"\underline{{{shown}}}"
    if not numbers:
        return BOLD * (entry.mark == "best") + shown
    if entry.text == MISSING:
        return f"{{{shown}}}"
    if entry.mark != "tied":
        return BOLD * (entry.mark == "best") + entry.text.replace(" ± ", " +- ")
    spread = entry.text.partition(" ± ")[2]
    lacking = "0" * (len(numbers.behind) - 1 - len(spread)) if spread else text(numbers.behind)
    return f"{{{shown}\\phantom{{{lacking}}}}}" if lacking else f"{{{shown}}}"


def _groups(table: Table, panel: list[int], widths: list[float]) -> list[str]:
    """The line of groups above a panel's columns, and the rules below it."""
    spans: list[tuple[str, int, int, float]] = []  # name, first and last column, points
    for at, i in enumerate(panel, 2):
        if spans and spans[-1][0] == table.groups[i]:
            name, first, _, room = spans.pop()
            spans.append((name, first, at, room + widths[i]))
        else:
            spans.append((table.groups[i], at, at, widths[i]))
    heads = "".join(
        rf" & \multicolumn{{{last - first + 1}}}{{c}}{{{_stacked(_broken(name, room - 2 * GAP), 'c')}}}"
        for name, first, last, room in spans
    )
    return [heads + r" \\", "".join(rf"\cmidrule(lr){{{first}-{last}}}" for _, first, last, _ in spans)]


def _stacked(lines: list[str], side: str) -> str:
    shown = r"\\".join(map(text, lines))
    return shown if len(lines) == 1 else rf"\shortstack[{side}]{{{shown}}}"


def _pages(
    table: Table, panels: list[list[int]], widths: list[float], caption: str, names: float, room: float
) -> list[tuple[list[int], list[int]]]:
    """The positions of the panels and of the rows on each page: rows are split only where one panel is too tall for a page."""
    lines = [len(_broken(label, names)) for label, _ in table.rows]
    spans = {name: sum(itertools.compress(widths, [group == name for group in table.groups])) for name in table.groups}
    head = max((len(_heads(name, room)) for name in table.columns), default=1)
    head += max((len(_broken(name, span - 2 * GAP)) for name, span in spans.items()), default=0)
    tall = LEADING * head + 3 * RULE  # without rows
    later = HIGH - RULE - 3 * CAPTION
    first = later - CAPTION * math.ceil(width(caption) * 10 / SIZE / (room + names + GAP))
    rows, (opening, *others) = list(range(len(lines))), list(range(len(panels)))

    def parts(most: float) -> list[list[int]]:
        split = (_even(rows, n) for n in range(1, len(rows) + 1))
        return next((some for some in split if all(tall + LEADING * sum(lines[i] for i in one) <= most for one in some)), [rows])

    if len(parts(first)) > 1:
        return [*(([opening], some) for some in parts(first)), *(([i], some) for i in others for some in parts(later))]
    tall += LEADING * sum(lines)
    beside = int(first / tall) - 1
    further = _even(others[beside:], math.ceil(len(others[beside:]) / int(later / tall))) if others[beside:] else []
    return [([opening, *others[:beside]], rows), *((page, rows) for page in further)]


def _panel(
    table: Table, panel: list[int], rows: list[int], formats: list[Format | None], widths: list[float], names: float, room: float
) -> list[str]:
    heads = ["Method", *(f"{{{_stacked(_heads(table.columns[i], room), 'r')}}}" for i in panel)]
    entries = [
        [_stacked(_broken(label, names), "l"), *(_entry(row[i], numbers) for i, numbers in zip(panel, formats, strict=False))]
        for label, row in (table.rows[at] for at in rows)
    ]
    head, *body = [" & ".join(cells) + r" \\" for cells in (heads, *entries)]
    return [*(_groups(table, panel, widths) if table.groups else []), head, r"\midrule", *body]


def _tables(table: Table, setup: str, room: float, environment: str) -> str:
    names = min(max(map(width, ["Method", *(label for label, _ in table.rows)])), room / 2)
    room -= names + GAP
    widths = _widths(table, room)
    panels = _panels(table, widths, room) or [[]]
    whole = f"{table.caption.replace(TIED, 'Underlined')} {setup}"
    lines = [r"% needs \usepackage{booktabs,siunitx}"]
    for n, (page, rows) in enumerate(_pages(table, panels, widths, whole, names, room)):
        caption = f"{table.title}, continued." if n else whole
        below = itertools.zip_longest(*(panels[i] for i in page))  # the columns that stand below each other
        formats = [_common(table, position) for position in below]
        lines += [
            rf"\begin{{{environment}}}",
            r"\centering\setlength{\belowcaptionskip}{4pt}",
            rf"\caption{{{text(caption)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}{f'-{n + 1}' if n else ''}}}",
            rf"\fontsize{{{SIZE:g}}}{{{LEADING:g}}}\selectfont\setlength{{\tabcolsep}}{{{GAP:g}pt}}",
            rf"\sisetup{{{SIUNITX}}}\def\textpm{{\ensuremath{{\pm}}}}\def\textminus{{\ensuremath{{-}}}}",
            rf"\begin{{tabular}}{{@{{}}l{''.join(numbers.column if numbers else 'r' for numbers in formats)}@{{}}}}",
            r"\toprule",
        ]
        for at, i in enumerate(page):
            lines += [*([r"\midrule"] if at else []), *_panel(table, panels[i], rows, formats, widths, names, room)]
        lines += [r"\bottomrule", r"\end{tabular}", rf"\end{{{environment}}}"]
    return "\n".join([*lines, ""])


def column(table: Table, setup: str = "", room: float = COLUMN) -> str:
    """The table within one column of text.

    Args:
        table: What to write.
        setup: Closes the caption: backbone, shots, seeds.
        room: The column's width in points.
    """
    return _tables(table, setup, room, "table")


def across(table: Table, setup: str = "", room: float = 345.0) -> str:
    """The table across all columns of text, `room` points wide."""
    return _tables(table, setup, room, "table*")
