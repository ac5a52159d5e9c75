"""Which icon sets may be used, which of them form one family, and what an icon's name says.

Shared by every script of the recipe. `--icons` points at an unpacked npm package `@iconify/json` (2.2.535): one JSON file per
icon set and `collections.json` with each set's author and licence.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

# An allow list, so that a licence nobody has read is left out: no ShareAlike, NonCommercial, GPL or MPL, none without a licence.
LICENCES = frozenset({"MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-3.0", "CC0-1.0", "OFL-1.1", "ISC", "BSD-3-Clause"})
# Names of these are brands, currencies, programs or countries: they do not say what is drawn.
NAMELESS_CATEGORIES = frozenset({"Logos", "Programming"})
NAMELESS_SETS = frozenset({"cif", "circle-flags", "flag", "flagpack", "fa-brands", "fa6-brands", "ginetex", "websymbol"})

# Sets whose drawings are near copies of each other, or that one house drew in one hand, are one family; any other set is its own.
FAMILIES: dict[str, tuple[str, ...]] = {
    "material": ("ic", "material-symbols", "material-symbols-light", "mdi", "mdi-light", "zmdi", "line-md", "memory"),
    "fluent": ("fluent", "fluent-color", "fluent-mdl2"),
    "fluent-emoji": ("fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast"),
    "font-awesome": ("fa", "fa-regular", "fa-solid", "fa6-regular", "fa6-solid", "fa7-regular", "fa7-solid", "la"),
    "boxicons": ("bx", "bxs", "boxicons"),
    "heroicons": ("heroicons", "heroicons-outline", "heroicons-solid", "sidekickicons"),
    "feather": ("feather", "lucide", "lucide-lab"),
    "ionicons": ("ion", "famicons"),
    "noto": ("noto", "noto-v1"),
    "emojione": ("emojione", "emojione-monotone"),
    "icon-park": ("icon-park", "icon-park-outline", "icon-park-solid", "icon-park-twotone"),
    "streamline": (
        "streamline", "streamline-block", "streamline-color", "streamline-cyber", "streamline-cyber-color", "streamline-emojis",
        "streamline-flex", "streamline-flex-color", "streamline-freehand", "streamline-freehand-color", "streamline-kameleon-color",
        "streamline-pixel", "streamline-plump", "streamline-plump-color", "streamline-sharp", "streamline-sharp-color",
        "streamline-stickies-color", "streamline-ultimate", "streamline-ultimate-color", "guidance", "covid",
    ),
    "unicons": ("uil", "uim", "uis", "uit"),
    "pepicons": ("pepicons", "pepicons-pencil", "pepicons-pop", "pepicons-print"),
    "glyphs": ("glyphs", "glyphs-poly"),
    "mono": ("mi", "mono-icons"),
    "icons8": ("icons8", "wpf", "flat-color-icons"),
    "myna": ("mynaui", "vadivam"),
    "halfmann": ("majesticons", "pixelarticons"),
    "mapbox": ("maki", "temaki", "pinhead", "osmic", "roentgen"),
    "coreui": ("cil",),
    "fontaudio": ("fad",),
}  # fmt: skip
_FAMILY_OF = {prefix: family for family, prefixes in FAMILIES.items() for prefix in prefixes}

# Words that name a drawing style and not the thing drawn; they are taken off both ends of a name to get its concept.
# "block" and the like are also words, but a concept never becomes empty (split_name).
STYLES = frozenset({
    "outline", "outlined", "outlines", "line", "lines", "linear", "fill", "filled", "fills", "solid", "bold", "bolder",
    "thin", "light", "regular", "duotone", "duo", "twotone", "tone", "two", "sharp", "round", "rounded", "broken", "alt",
    "alternate", "alternative", "variant", "mono", "monotone", "flat", "color", "colored", "colour", "fixed", "stroke",
    "stroked", "thick", "thicker", "extralight", "semibold", "medium", "small", "large", "big", "mini", "micro", "xs", "sm",
    "md", "lg", "xl", "xxl", "baseline", "square-outline", "bulk", "curved", "pixel", "plump", "flex", "block", "remix",
    "print", "pop", "pencil-style", "glyph", "icon", "icons", "logo", "sharpened", "static", "animated", "off-outline", "1x",
    "2x", "freehand", "freehand-color", "black", "white", "slim", "normal",
})  # fmt: skip
_NUMBER = re.compile(r"^(\d+|v\d+|\d+px|\d+x\d+)$")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])")


def family_of(prefix: str) -> str:
    """The family that a set belongs to; its own prefix where it stands alone."""
    return _FAMILY_OF.get(prefix, prefix)


def usable_sets(icons: Path) -> dict[str, dict[str, Any]]:
    """The sets that may be used and whose names describe drawings: prefix -> its entry in collections.json."""
    collections = json.loads((icons / "collections.json").read_text(encoding="utf-8"))
    return {
        prefix: info
        for prefix, info in sorted(collections.items())
        if info["license"].get("spdx") in LICENCES
        and info.get("category") not in NAMELESS_CATEGORIES
        and prefix not in NAMELESS_SETS
    }


@lru_cache(maxsize=4)
def load_set(icons: Path, prefix: str) -> dict[str, Any]:
    """One set's JSON file as iconify ships it."""
    data: dict[str, Any] = json.loads((icons / "json" / f"{prefix}.json").read_text(encoding="utf-8"))
    return data


def words_of(name: str) -> list[str]:
    """The words of an icon's name, lower case: "sailboat-outline-24" -> ["sailboat", "outline", "24"]."""
    return [word for word in re.split(r"[-_.\s]+", _CAMEL.sub("-", name).lower()) if word]


def split_name(name: str) -> tuple[list[str], list[str]]:
    """A name's (concept words, style words): style words and sizes are taken off its end, plain numbers too."""
    words, style = words_of(name), []
    while len(words) > 1 and (words[-1] in STYLES or _NUMBER.match(words[-1])):
        style.insert(0, words.pop())
    while len(words) > 1 and words[0] in {
        "outline",
        "baseline",
        "round",
        "sharp",
        "twotone",
        "bold",
        "regular",
        "solid",
        "duotone",
        "icon",
        "ios",
        "md",
    }:
        style.append(words.pop(0))
    return words, [word for word in style if not word.isdigit()]


def concept_of(name: str) -> str:
    """The thing drawn, without style: "sailboat-outline" and "sailboat-fill-24" are both "sailboat"."""
    return " ".join(split_name(name)[0])
