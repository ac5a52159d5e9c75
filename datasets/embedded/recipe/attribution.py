"""Step 7: ATTRIBUTION.md, made from what was really used.

    python attribution.py --icons PACKAGE --fonts NPM_FOLDER --datasets DATASETS_FOLDER

Reads the split files (which sets the tasks use) and families.json (which sets the model was trained on), iconify's
`collections.json`, the copyright files of Debian's font packages and the licence files of npm's.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from fontTools.ttLib import TTFont
from glyph_tasks import npm_packages, unpacked
from sets import LICENCES as PERMITTED
from sets import family_of, usable_sets

HEAD = """# Attribution

The embedded model was trained on, and the embedded tasks consist of, drawings by many people. None of the sets is under a
ShareAlike, NonCommercial or GPL licence, and none is without a licence. The drawings were rendered at 64 x 64 pixels, in black on
white where a set has one colour, and scaled down; the contact sheets show some of them. The weights and features are derived from
them. Licence names are SPDX identifiers.

## Icon sets (through @iconify/json 2.2.535)

| set | name | author | licence | url | used for |
| --- | --- | --- | --- | --- | --- |
"""
OTHER = """
## Other pictures

| data | author | licence | url | used for |
| --- | --- | --- | --- | --- |
"""
OTHER_ROWS = (
    (
        "Handwritten digits, as in scikit-learn",
        "E. Alpaydin, C. Kaynak",
        "CC-BY-4.0",
        "https://archive.ics.uci.edu/dataset/80",
        "task digits",
    ),
    ("Fashion-MNIST", "Zalando SE", "MIT", "https://github.com/zalandoresearch/fashion-mnist", "task fashion_mnist"),
    (
        "Unihan database (radicals only)",
        "Unicode, Inc.",
        "Unicode-3.0",
        "https://www.unicode.org/charts/unihan.html",
        "task chinese_parts",
    ),
    ("cldr-core 48.2.0 (regions only)", "Unicode, Inc.", "Unicode-3.0", "https://cldr.unicode.org/", "task flags"),
    ("emoji-test.txt (names only)", "Unicode, Inc.", "Unicode-3.0", "https://www.unicode.org/Public/emoji/", "task emoji"),
)
FONTS = """
## Fonts (as packaged by Debian)

| package | copyright | licence | used for |
| --- | --- | --- | --- |
"""
FONT_USES = {"fonts-noto-core": "tasks writing_systems, hieroglyphs", "fonts-noto-cjk": "task chinese_parts"}
NPM = """
## Fonts (as packaged on npm)

| package | copyright | licence | used for |
| --- | --- | --- | --- |
"""
# Where the copyright file's first stanza does not say it.
HOLDERS = {"fonts-inconsolata": "Raph Levien", "fonts-sil-charis": "SIL International (Charis SIL); Bitstream Inc. (Charter)"}
LICENCES = {
    "OFL": "OFL-1.1", "Open Font": "OFL-1.1", "Apache": "Apache-2.0", "MIT": "MIT", "BSD": "BSD-3-Clause",
}  # fmt: skip


def cell(text: str) -> str:
    """A table cell: one line, no bars."""
    return re.sub(r"\s+", " ", text).replace("|", "/").strip()


def icon_rows(icons: Path, datasets: Path) -> list[str]:
    """One row per set that was used."""
    families = json.loads((Path(__file__).parent / "families.json").read_text(encoding="utf-8"))
    tasks: dict[str, set[str]] = {}
    for split in sorted(datasets.glob("embedded/tasks/*/split.json")):
        for items in json.loads(split.read_text(encoding="utf-8")).values():
            for key, _, _ in items:
                tasks.setdefault(key.split("/")[0], set()).add(split.parent.name)
    rows = []
    collections = json.loads((icons / "collections.json").read_text(encoding="utf-8"))
    for prefix, info in sorted(collections.items()):
        if info["license"].get("spdx") not in PERMITTED or not (prefix in tasks or prefix in usable_sets(icons)):
            continue
        uses = ["pretraining"] if family_of(prefix) in families["pretrain"] else []
        if prefix in tasks:
            uses.append("tasks" if len(tasks[prefix]) > 1 else f"task {next(iter(tasks[prefix]))}")
        if uses:
            author, licence = info["author"], info["license"]
            url = author.get("url") or licence.get("url") or f"https://icon-sets.iconify.design/{prefix}/"
            rows.append(
                f"| {prefix} | {cell(info['name'])} | {cell(author['name'])} | {licence['spdx']} | {url} | {', '.join(uses)} |"
            )
    return rows


def font_row(package: str) -> str:
    """A font package's copyright and licence, from the first stanza of its copyright file that names fonts."""
    text = Path(f"/usr/share/doc/{package}/copyright").read_text(encoding="utf-8", errors="replace")
    holders: list[str] = []
    for stanza in re.split(r"\n\s*\n", text):
        if re.search(r"^Files(-Excluded)?:.*debian", stanza, re.MULTILINE):
            continue
        found = re.search(r"^Copyright:[ \t]*(.*(?:\n[ \t]+.+)*)", stanza, re.MULTILINE)
        if found:
            holders += [line.strip() for line in found.group(1).split("\n") if line.strip()]
            break
    holder = HOLDERS.get(package) or cell(re.sub("<[^>]*>", "", "; ".join(holders[:3])))
    licence = next(name for word, name in LICENCES.items() if re.search(rf"^License:.*{word}", text, re.MULTILINE))
    use = FONT_USES.get(package, "tasks letters, math_signs, currency_signs")
    return f"| {package} | {holder} | {licence} | {use} |"


def npm_row(folder: Path, package: str, tasks: list[str]) -> str:
    """A packed font's copyright, as Fontsource gives it or else the font itself, and its licence."""
    licence = json.loads(unpacked(folder, package, r"^package\.json$")[0].read_text(encoding="utf-8"))["license"]
    if package.startswith("@fontsource/"):
        metadata = json.loads(unpacked(folder, package, r"^metadata\.json$")[0].read_text(encoding="utf-8"))
        holder = re.split(r" [\w\[\],-]+\.ttf:", metadata["license"]["attribution"])[0]
    else:
        holder = TTFont(unpacked(folder, package, r"\.otf$")[0])["name"].getDebugName(0).splitlines()[0]
    # A package that draws the Greek letters also draws the signs.
    uses = [*tasks, *(["math_signs", "currency_signs"] if "greek_letters" in tasks else [])]
    return f"| {package.rpartition('@')[0]} {package.rpartition('@')[2]} | {cell(holder)} | {licence} | tasks {', '.join(uses)} |"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    packages = [
        line for line in (Path(__file__).parent / "fonts.txt").read_text(encoding="utf-8").split("\n") if line.startswith("fonts-")
    ]
    rows = icon_rows(args.icons, args.datasets)
    others = [f"| {' | '.join(row)} |" for row in OTHER_ROWS]
    npm = [npm_row(args.fonts, package, tasks) for package, tasks in npm_packages().items()]
    parts = ((HEAD, rows), (OTHER, others), (FONTS, map(font_row, packages)), (NPM, npm))
    text = "".join(head + "\n".join(lines) + "\n" for head, lines in parts)
    (args.datasets / "embedded" / "ATTRIBUTION.md").write_text(text, encoding="utf-8")
    print(f"{len(rows)} icon sets, {len(packages)} + {len(npm)} font packages")


if __name__ == "__main__":
    main()
