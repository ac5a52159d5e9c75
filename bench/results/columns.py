"""The page of all result columns: `python -m bench.results.columns > results/COLUMNS.md`. A test holds it current."""

from bench.results.schema import COLUMNS, FILES, HISTORY, PERCENT, SHARE, Column

HEAD = """# The columns of results

Made by `python -m bench.results.columns > results/COLUMNS.md` from `bench/results/schema.py`, where each is declared once.

`from reports import load; load("results/reference").frame` has a row per run, with these columns:

| column | type | meaning |
|---|---|---|"""
UNITS = {PERCENT: ", in percent", SHARE: ", in [0, 1]"}


def line(column: Column) -> str:
    """A column's row of the table."""
    unit = UNITS.get(column.limits, "") if column.limits else ""
    where = "" if column.in_frame else " (in the Parquet file alone)"
    return f"| `{column.name}` | {column.kind.__name__} | {column.meaning}{unit}{where} |"


def page() -> str:
    """The page, as Markdown."""
    epochs = [f"| `{name}` | {meaning} |" for name, meaning in HISTORY.items()]
    files = [f"| `{name}` | {meaning} |" for name, meaning in FILES.items()]
    return "\n".join([
        HEAD, *map(line, COLUMNS),
        "\nA run's `history` holds a list per name, an entry per evaluated epoch:\n", "| name | meaning |\n|---|---|", *epochs,
        "\nBeside a run's record:\n", "| file | meaning |\n|---|---|", *files, "",
    ])  # fmt: skip


if __name__ == "__main__":
    print(page(), end="")
