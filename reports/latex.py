r"""Tables as LaTeX that fits: `table` within a column, `table*` across two, 8 pt type, in a preamble with \usepackage{booktabs}.

A table's columns are laid out in panels, one below the other: as many columns as fit the width beside each other, those of a group
(a dataset) together where they can. What is too tall for a page goes on in further tables. Widths are measured in Computer Modern,
which is wider than the Times of most styles.
"""

import re
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.ft2font import FT2Font

from reports.tables import TIED, Entry, Table

SPECIAL = {
    **{c: "\\" + c for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "√": r"$\surd$", "×": r"$\times$", "≥": r"$\geq$",
    "≤": r"$\leq$", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "“": "``", "”": "''", '"': "''",
    "…": r"\dots{}", "Δ": r"$\Delta$", "γ": r"$\gamma$", "−": "$-$",
}  # fmt: skip
MINUS = re.compile(r"(?<![^ (])-(?=\d)")
COLUMN, TALLEST = 236.0, 52  # points: the narrowest column of a style (CVPR's); lines of a table on one page
SIZE, LEADING, GAP = 8.0, 9.5, 2.5  # points: type, its lines, and on either side of a column
WIDER = {False: 1.09, True: 1.25}  # LaTeX's 8 pt Computer Modern and its extended bold, measured against matplotlib's 10 pt cuts


def text(words: str) -> str:
    """Text with LaTeX's special characters escaped, true minus signs and quotes; what the fonts lack becomes a question mark."""
    quoted = re.sub(r'"([^"]*)"', "“\\1”", MINUS.sub("−", words))
    shown = (SPECIAL.get(c, c if c.isascii() and c.isprintable() else "?") for c in quoted)
    return "".join(shown).replace(r" $\pm$ ", r"\,$\pm$\,")


@cache
def _font(bold: bool) -> FT2Font:
    font = FT2Font(str(Path(mpl.get_data_path(), "fonts", "ttf", "cmb10.ttf" if bold else "cmr10.ttf")))
    font.set_size(SIZE, 72)
    return font


@cache
def _advance(character: str, bold: bool) -> float:
    return float(_font(bold).load_char(ord(character)).linearHoriAdvance) / 65536


def width(words: str, bold: bool = False) -> float:
    """Points that text takes at 8 pt."""
    shown = (c if c.isascii() else "+" for c in MINUS.sub("−", words.replace(" ± ", "±")))
    return sum(_advance(c, bold) for c in shown) * WIDER[bold] + 3.0 * words.count("±")


def _broken(head: str) -> list[str]:
    """A column's head in lines: broken where words end, as long as its longest word allows."""
    lines: list[str] = []
    longest = max(8, *(len(word) for word in head.replace("_", " ").split()), 0) if head.strip() else 8
    for word in head.replace("_", " ").split():
        if lines and len(lines[-1]) + 1 + len(word) <= longest:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines or [""]


def _widths(table: Table) -> list[float]:
    """What every column takes, with the gaps on its sides."""
    found = []
    for i, head in enumerate(table.columns):
        texts = [width(row[i].text, row[i].mark == "best") for _, row in table.rows]
        found.append(max([*map(width, _broken(head)), *texts]) + 2 * GAP)
    return found


def _panels(table: Table, room: float) -> list[list[int]]:
    """The positions of the columns, panel by panel: groups stay whole where they fit, and long rows are split evenly."""
    widths = _widths(table)
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


def _entry(entry: Entry) -> str:
    return {"best": r"\textbf{%s}", "tied": r"\underline{%s}", "": "%s"}[entry.mark] % text(entry.text)


def _groups(table: Table, panel: list[int]) -> list[str]:
    """The line of groups above a panel's columns, and the rules below it."""
    spans: list[tuple[str, int, int]] = []
    for at, i in enumerate(panel, 2):
        if spans and spans[-1][0] == table.groups[i]:
            spans[-1] = (spans[-1][0], spans[-1][1], at)
        else:
            spans.append((table.groups[i], at, at))
    heads = "".join(rf" & \multicolumn{{{last - first + 1}}}{{c}}{{{text(name)}}}" for name, first, last in spans)
    return [heads + r" \\", "".join(rf"\cmidrule(lr){{{first}-{last}}}" for _, first, last in spans)]


def _head(head: str) -> str:
    lines = [text(line) for line in _broken(head)]
    return lines[0] if len(lines) == 1 else r"\shortstack[r]{" + r"\\".join(lines) + "}"


def _panel(table: Table, panel: list[int]) -> list[str]:
    head = " & ".join(["Method", *(_head(table.columns[i]) for i in panel)]) + r" \\"
    rows = [" & ".join([text(label), *(_entry(row[i]) for i in panel)]) + r" \\" for label, row in table.rows]
    return [*(_groups(table, panel) if table.groups else []), head, r"\midrule", *rows]


def _tables(table: Table, setup: str, room: float, environment: str) -> str:
    label = max([*(width(name) for name, _ in table.rows), width("Method")]) + GAP
    panels = _panels(table, room - label)
    tall = len(table.rows) + 2 + max((len(_broken(head)) for head in table.columns), default=1)
    per_page = max(1, TALLEST // tall)
    lines = [r"% needs \usepackage{booktabs}"]
    for n, page in enumerate(_even(list(range(len(panels))), -(-len(panels) // per_page) or 1)):
        caption = f"{table.caption.replace(TIED, 'Underlined')} {setup}" if n == 0 else f"{table.title}, continued."
        columns = max(len(panels[i]) for i in page)
        lines += [
            rf"\begin{{{environment}}}",
            r"\centering",
            rf"\caption{{{text(caption)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}{f'-{n + 1}' if n else ''}}}",
            rf"\fontsize{{{SIZE:g}}}{{{LEADING:g}}}\selectfont\setlength{{\tabcolsep}}{{{GAP:g}pt}}",
            rf"\begin{{tabular}}{{@{{}}l{'r' * columns}@{{}}}}",
            r"\toprule",
        ]
        for at, i in enumerate(page):
            lines += [*([r"\midrule"] if at else []), *_panel(table, panels[i])]
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
