"""Errors a user can act on, and the exit codes of the command line."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

OK, SOME_FAILED, USAGE, ENVIRONMENT, INCOMPLETE, WORSE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
MOST = 60  # names that a hint lists


class BenchError(Exception):
    """One clear sentence: what is wrong and where; `hint` says what to do next.

    Args:
        message: What is wrong, and where.
        hint: What the user can do about it.
        code: The command line's exit code (2: bad input, 3: environment, 4: incomplete).
    """

    def __init__(self, message: str, hint: str = "", code: int = USAGE) -> None:
        super().__init__(message)
        self.message, self.hint, self.code = message, hint, code

    def __str__(self) -> str:
        """The message and the hint, as they are printed."""
        return f"{self.message} {self.hint}".strip()


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown `name`: the nearest of the `known` ones, else all of them, or the first where they are very many."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    more = f" and {len(known) - MOST} more" if len(known) > MOST else ""
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known[:MOST])}{more}."


def invalid(where: str, error: "ValidationError", known: Iterable[str]) -> BenchError:
    """Pydantic's complaint about a file or table as one sentence.

    Args:
        where: What was read, such as "grid file a.toml".
        error: The complaint. An unknown key comes first: it is often the one that another complaint misses.
        known: The keys there are.
    """
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = ".".join(map(str, first["loc"]))
    unknown = first["type"] == "extra_forbidden"
    hint = "Correct the value." if not unknown else nearest(key, known) if len(first["loc"]) == 1 else "Correct or remove the key."
    message = first["msg"].removeprefix("Value error, ")
    return BenchError(f"{where}: '{key}': {message}." if key else f"{where}: {message}.", hint)
