"""What LaTeX makes of a text: its characters, its width in Computer Modern at 8 pt, and the siunitx column of numbers."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import matplotlib as mpl
from matplotlib.ft2font import FT2Font

from reports.wording import MISSING

SPECIAL = {
    **{c: "\\" + c for c in "&%$#_{}"}, "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "–": "--", "†": r"$^\dagger$", "‡": r"$^\ddagger$", "√": r"$\surd$", "×": r"$\times$", "≥": r"$\geq$",
    "≤": r"$\leq$", "·": r"$\cdot$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "“": "``", "”": "''", '"': "''",
    "…": r"\dots{}", "−": "$-$",
    "Δ": r"$\Delta$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "ε": r"$\varepsilon$", "λ": r"$\lambda$", "τ": r"$\tau$",
}  # fmt: skip
MINUS = re.compile(r"(?<![^ (])-(?=\d)")
SIZE = 8.0  # points
WIDER = 1.09  # LaTeX's 8 pt Computer Modern, measured against matplotlib's 10 pt cut
NUMBER = re.compile(r"([+-]?)(\d+)(?:\.(\d+))?(?: ± (\d+)(?:\.(\d+))?)?")


@cache  # the same labels and numbers stand in many tables
def text(words: str) -> str:
    """Text with LaTeX's special characters escaped, true minus signs and quotes; what the fonts lack becomes a question mark."""
    quoted = re.sub(r'"([^"]*)"', "“\\1”", MINUS.sub("−", words))
    return "".join(SPECIAL.get(c, c if _known(c) else "?") for c in quoted)


def _known(character: str) -> bool:
    """Whether LaTeX has a character in every encoding of its fonts: ASCII, and Latin-1's letters with one accent."""
    return ord(character) < 256 and character.isprintable() and (character.isascii() or len(normalize("NFD", character)) == 2)


@cache
def _font() -> FT2Font:
    font = FT2Font(str(Path(mpl.get_data_path(), "fonts", "ttf", "cmr10.ttf")))
    font.set_size(SIZE, 72)
    return font


@cache
def _advance(character: str) -> float:
    return float(_font().load_char(ord(character)).linearHoriAdvance) / 65536


@cache  # heads and labels stand in many tables
def width(words: str) -> float:
    """Points that text takes at 8 pt."""
    return sum(_advance(c if c.isascii() and c.isprintable() else "+") for c in MINUS.sub("−", words.replace(" ± ", "±"))) * WIDER


class Format(NamedTuple):
    """What the numbers of a column need: a sign, digits before and after the point, and those of what stands behind ±."""

    sign: bool
    whole: int
    decimals: int
    spread: int  # digits before the point; 0: nothing stands behind ±

    @property
    def column(self) -> str:
        """The column's type."""
        point = f".{self.decimals}" if self.decimals else ""
        spread = f"({self.spread + self.decimals})" if self.spread else ""
        return f"S[table-format={'-' * self.sign}{self.whole}{point}{spread}]"

    @property
    def behind(self) -> str:
        """The widest that stands behind a number."""
        return f"±{'0' * self.spread}{'.' * bool(self.decimals)}{'0' * self.decimals}" if self.spread else ""

    @property
    def widest(self) -> str:
        """The widest number."""
        return f"{'+' * self.sign}{'0' * self.whole}{'.' * bool(self.decimals)}{'0' * self.decimals}{self.behind}"


@cache  # of a column, asked for at every width that is tried
def format_of(texts: tuple[str, ...]) -> Format | None:
    """The format of numbers; None where something is neither a number nor missing, or has other decimals."""
    found = [NUMBER.fullmatch(text) for text in texts if text != MISSING]
    numbers = [match.groups(default="") for match in found if match]
    decimals = {len(part) for _, _, first, spread, second in numbers for part in ((first, second) if spread else (first,))}
    if len(numbers) < len(found) or len(decimals) != 1:
        return None
    signs, wholes, _, spreads, _ = zip(*numbers, strict=True)
    return Format(any(signs), max(map(len, wholes)), decimals.pop(), max(map(len, spreads)))
