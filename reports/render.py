"""Tables as Markdown, CSV and for the terminal; `reports.latex` has LaTeX."""

import re

from rich.table import Table as RichTable
from rich.text import Text

from bench.output import csv_cell, shown
from reports.tables import TIED, Entry, Table


def markdown_text(text: str) -> str:
    """Text that Markdown and HTML leave alone inside a table."""
    return re.sub(r"([\\`*_|\[\]<>])", lambda m: f"&#{ord(m[1])};" if m[1] in "<>" else "\\" + m[1], " ".join(text.split()))


def markdown(table: Table) -> str:
    """A pipe table under its title, with its caption below."""

    def entry(one: Entry) -> str:
        wrap = {"best": "**", "tied": "*", "": ""}[one.mark]
        return f"{wrap}{markdown_text(one.text)}{wrap}"

    head = "| method | " + " | ".join(map(markdown_text, table.heads)) + " |"
    rule = "|:--" + "|--:" * len(table.columns) + "|"
    rows = [f"| {markdown_text(label)} | " + " | ".join(map(entry, row)) + " |" for label, row in table.rows]
    return "\n".join(
        [f"### {markdown_text(table.title)}", "", head, rule, *rows, "", markdown_text(table.caption.replace(TIED, "Italic")), ""]
    )


def csv(table: Table) -> str:
    """The numbers, unrounded; no name of a row or column is a formula to a spreadsheet."""

    def named(name: object) -> object:
        return csv_cell(name) if isinstance(name, str) else name

    return str(table.numbers.rename(index=named, columns=named).map(named).to_csv())


def terminal(table: Table) -> RichTable:
    """For `rich`; text is text, whatever brackets or escapes it holds."""
    made = RichTable(
        title=Text(shown(table.title)),
        caption=Text(shown(table.caption.replace(TIED, "Italic"))),
        caption_justify="left",
        header_style="bold",
        title_justify="left",
    )
    made.add_column("method", no_wrap=True)
    for column in table.heads:
        made.add_column(Text(shown(column)), justify="right", no_wrap=True)
    style = {"best": "bold green", "tied": "italic", "": ""}
    for label, row in table.rows:
        made.add_row(Text(shown(label)), *(Text(shown(c.text), style[c.mark]) for c in row))
    return made
