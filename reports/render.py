"""Tables as Markdown, LaTeX (booktabs), CSV and for the terminal."""

import re

from rich.table import Table as RichTable
from rich.text import Text

from reports.tables import Cell, Table

LATEX = {
    **{c: "\\" + c for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "√": r"$\surd$", "×": r"$\times$", "≥": r"$\geq$",
    "≤": r"$\leq$", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


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
    return "\n".join([f"### {markdown_text(table.title)}", "", head, rule, *rows, "", markdown_text(table.caption), ""])


def latex(table: Table) -> str:
    r"""A `table` with booktabs rules. Wants \usepackage{booktabs,graphicx}; wide tables shrink to the line."""

    def cell(c: Cell) -> str:
        return {"best": r"\textbf{%s}", "tied": r"\underline{%s}", "": "%s"}[c.mark] % latex_text(c.text)

    head = " & ".join(["Method", *map(latex_text, table.columns)]) + r" \\"
    rows = [" & ".join([latex_text(label), *map(cell, row)]) + r" \\" for label, row in table.rows]
    tabular = [
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        head,
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if len(table.columns) > 5:
        tabular = [r"\resizebox{\linewidth}{!}{%", *tabular[:-1], r"\end{tabular}}"]
    start = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex_text(table.caption)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
    ]
    return "\n".join([*start, *tabular, r"\end{table}", ""])


def csv(table: Table) -> str:
    """The numbers, unrounded."""
    return str(table.numbers.to_csv())


def terminal(table: Table) -> RichTable:
    """For `rich`; text is text, whatever brackets it holds."""
    shown = RichTable(
        title=Text(table.title), caption=Text(table.caption), caption_justify="left", header_style="bold", title_justify="left"
    )
    shown.add_column("method", no_wrap=True)
    for column in table.columns:
        shown.add_column(Text(column), justify="right", no_wrap=True)
    style = {"best": "bold green", "tied": "italic", "": ""}
    for label, row in table.rows:
        shown.add_row(Text(label), *(Text(c.text, style[c.mark]) for c in row))
    return shown
