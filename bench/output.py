"""What leaves the suite as text: one writer for the terminal, and one rule for cells of CSV files.

Names of methods, classes, files and runs come from plugins, cards and other people's results, so they may hold terminal escapes
(which could repaint the screen) or spreadsheet formulas.
"""

import re
import sys
from typing import TextIO

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")  # but not \t and \n
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def shown(text: object) -> str:
    r"""A text as a terminal may show it: control characters (and marks that turn the reading direction) as \x1b and the like."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode("ascii"), str(text))


def say(text: object = "", *, err: bool = False) -> None:
    """Print a line for people or tools, to stdout or stderr."""
    print(shown(text), file=sys.stderr if err else sys.stdout, flush=True)


def tolerant(stream: TextIO) -> None:
    """Have a stream show what its encoding lacks as an escape instead of failing (a terminal in ASCII, a method called Ωmega)."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def csv_cell(text: str) -> str:
    """A cell of text that no spreadsheet takes for a formula (OWASP's rule: a quote in front of = + - @)."""
    return f"'{text}" if text.startswith(FORMULA) else text
