"""Step 7: ATTRIBUTION.md, made from what was really used.

    python attribution.py --icons PACKAGE --datasets DATASETS_FOLDER

Reads the split files (which sets the tasks use) and families.json (which sets the model was trained on), iconify's
`collections.json` and the copyright files of Debian's font packages.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

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
    ("emoji-test.txt (names only)", "Unicode, Inc.", "Unicode-3.0", "https://www.unicode.org/Public/emoji/", "task emoji"),
)
FONTS = """
## Fonts (as packaged by Debian)

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
    for prefix, info in usable_sets(icons).items():
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
    use = "task writing_systems" if package == "fonts-noto-core" else "task letters"
    return f"| {package} | {holder} | {licence} | {use} |"


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    packages = [
        line for line in (Path(__file__).parent / "fonts.txt").read_text(encoding="utf-8").split("\n") if line.startswith("fonts-")
    ]
    rows = icon_rows(args.icons, args.datasets)
    others = [f"| {' | '.join(row)} |" for row in OTHER_ROWS]
    text = HEAD + "\n".join(rows) + "\n" + OTHER + "\n".join(others) + "\n" + FONTS + "\n".join(map(font_row, packages)) + "\n"
    (args.datasets / "embedded" / "ATTRIBUTION.md").write_text(text, encoding="utf-8")
    print(f"{len(rows)} icon sets, {len(packages)} font packages")


if __name__ == "__main__":
    main()
