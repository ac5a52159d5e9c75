"""Tables as Markdown, LaTeX (booktabs), CSV and for the terminal."""

import re

from rich.table import Table as RichTable
from rich.text import Text

from bench.output import csv_cell
from reports.tables import TIED, Cell, Table

LATEX = {
    **{c: "\\" + c for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "√": r"$\surd$", "×": r"$\times$", "≥": r"$\geq$",
    "≤": r"$\leq$", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


WIDEST, LINE = 135, 55  # characters: of a table that is not split, and of a line at full size


def latex_text(text: str) -> str:
    """Text with LaTeX's special characters escaped; what the fonts lack becomes a question mark."""
    return "".join(LATEX.get(c, c if c.isascii() and c.isprintable() else "?") for c in text)


def markdown_text(text: str) -> str:
    """Text that Markdown and HTML leave alone inside a table's cell."""
    return re.sub(r"([\\`*_|\[\]<>])", lambda m: f"&#{ord(m[1])};" if m[1] in "<>" else "\\" + m[1], " ".join(text.split()))


def markdown(table: Table) -> str:
    """A pipe table under its title, with its caption below."""

    def cell(c: Cell) -> str:
        wrap = {"best": "**", "tied": "*", "": ""}[c.mark]
        return f"{wrap}{markdown_text(c.text)}{wrap}"

    head = "| method | " + " | ".join(map(markdown_text, table.columns)) + " |"
    rule = "|:--" + "|--:" * len(table.columns) + "|"
    rows = [f"| {markdown_text(label)} | " + " | ".join(map(cell, row)) + " |" for label, row in table.rows]
    return "\n".join(
        [f"### {markdown_text(table.title)}", "", head, rule, *rows, "", markdown_text(table.caption.replace(TIED, "Italic")), ""]
    )


def _parts(table: Table) -> list[list[int]]:
    """The table's columns in parts that stay legible beside each other on a page: positions, part by part."""
    parts: list[list[int]] = [[]]
    used = start = max(len(label) for label, _ in table.rows)
    for i, column in enumerate(table.columns):
        width = 2 + max(len(column), *(len(row[i].text) for _, row in table.rows))
        if parts[-1] and used + width > WIDEST:
            parts.append([])
            used = start
        parts[-1].append(i)
        used += width
    return parts


def latex(table: Table) -> str:
    r"""As `table`s with booktabs rules. Wants \usepackage{booktabs,graphicx}: wide ones shrink to the line, wider are split."""

    def cell(c: Cell) -> str:
        return {"best": r"\textbf{%s}", "tied": r"\underline{%s}", "": "%s"}[c.mark] % latex_text(c.text)

    lines = [r"% needs \usepackage{booktabs,graphicx}"]
    for n, part in enumerate(_parts(table)):
        caption = latex_text(table.caption.replace(TIED, "Underlined")) if n == 0 else f"{latex_text(table.title)}, continued."
        head = " & ".join(["Method", *(latex_text(table.columns[i]) for i in part)]) + r" \\"
        rows = [" & ".join([latex_text(label), *(cell(row[i]) for i in part)]) + r" \\" for label, row in table.rows]
        spans = [len(table.columns[i]) if not table.rows else max(len(row[i].text) for _, row in table.rows) + 2 for i in part]
        shrink = sum(spans) > LINE
        lines += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{caption}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}{f'-{n + 1}' if n else ''}}}",
            *([r"\resizebox{\linewidth}{!}{%"] if shrink else []),
            rf"\begin{{tabular}}{{l{'r' * len(part)}}}",
            r"\toprule",
            head,
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}" + ("}" if shrink else ""),
            r"\end{table}",
        ]
    return "\n".join([*lines, ""])


def csv(table: Table) -> str:
    """The numbers, unrounded; no name is a formula to a spreadsheet."""
    return str(table.numbers.rename(index=lambda name: csv_cell(name) if isinstance(name, str) else name).to_csv())


def terminal(table: Table) -> RichTable:
    """For `rich`; text is text, whatever brackets it holds."""
    shown = RichTable(
        title=Text(table.title),
        caption=Text(table.caption.replace(TIED, "Italic")),
        caption_justify="left",
        header_style="bold",
        title_justify="left",
    )
    shown.add_column("method", no_wrap=True)
    for column in table.columns:
        shown.add_column(Text(column), justify="right", no_wrap=True)
    style = {"best": "bold green", "tied": "italic", "": ""}
    for label, row in table.rows:
        shown.add_row(Text(label), *(Text(c.text, style[c.mark]) for c in row))
    return shown
