"""Step 2: hold out whole families, and gather the pretraining icons in one place.

    python split.py --icons PACKAGE --work DIR

The rule, by counts alone: families are ranked by how many icons they have (ties by name) and dealt like cards: pretraining,
held out, pretraining, held out, and so on. Nothing else about a family is looked at. Writes `families.json` beside this script
(committed) and

    DIR/pretrain/pixels.npy   uint8 [n, 32, 32, 4], straight RGBA (black where a set has one colour)
    DIR/pretrain/icons.json   for every row its set and name, and what captions are made of: concept, style, aliases, categories
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from sets import concept_of, family_of, load_set, split_name, usable_sets, words_of
from tqdm import tqdm

DEAL = ("pretrain", "held_out")
SIZE = 32


def deal_families(sets: dict[str, dict]) -> dict[str, list[str]]:
    """Side -> its families, largest first."""
    totals: Counter[str] = Counter()
    for prefix, info in sets.items():
        totals[family_of(prefix)] += info["total"]
    ranked = sorted(totals, key=lambda family: (-totals[family], family))
    sides: dict[str, list[str]] = {"pretrain": [], "held_out": []}
    for rank, family in enumerate(ranked):
        sides[DEAL[rank % len(DEAL)]].append(family)
    return sides


def halve(pixels: np.ndarray) -> np.ndarray:
    """[n, 64, 64(, 4)] -> [n, 32, 32, 4]: the mean of 2 x 2 pixels, colours weighted by their coverage."""
    if pixels.ndim == 3:
        small = pixels.reshape(-1, SIZE, 2, SIZE, 2).mean(axis=(2, 4))
        out = np.zeros((len(pixels), SIZE, SIZE, 4), np.uint8)
        out[..., 3] = small.round()
        return out
    blocks = pixels.reshape(-1, SIZE, 2, SIZE, 2, 4).astype(np.float32)
    alpha = blocks[..., 3:]
    colour = (blocks[..., :3] * alpha).sum(axis=(2, 4)) / np.maximum(alpha.sum(axis=(2, 4)), 1)
    return np.concatenate([colour, alpha.mean(axis=(2, 4))], -1).round().astype(np.uint8)


def facts_of(data: dict, prefix: str, name: str, aliases: dict[str, list[str]], categories: dict[str, list[str]]) -> dict:
    """What is known in words about one icon."""
    _, style = split_name(name)
    suffix = next((title for end, title in data.get("suffixes", {}).items() if end and name.endswith("-" + end)), "")
    concept = concept_of(name)
    others = {concept_of(alias) for alias in aliases.get(name, [])} - {concept}
    return {
        "set": prefix,
        "name": name,
        "concept": concept,
        "style": " ".join(style) or " ".join(words_of(suffix)),
        "aliases": sorted(other for other in others if len(other) < 40)[:6],
        "categories": [" ".join(words_of(title.replace("&", "and").replace("/", " "))) for title in categories.get(name, [])][:3],
    }


def facts_of_set(icons: Path, prefix: str, names: list[str]) -> list[dict]:
    """The words on every icon of a set."""
    data = load_set(icons, prefix)
    aliases: dict[str, list[str]] = defaultdict(list)
    for alias, entry in data.get("aliases", {}).items():
        aliases[entry["parent"]].append(alias)
    categories: dict[str, list[str]] = defaultdict(list)
    for title, members in data.get("categories", {}).items():
        for member in members:
            categories[member].append(title)
    return [facts_of(data, prefix, name, aliases, categories) for name in names]


def main() -> None:
    """Deal the families and pack the pretraining side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--icons", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args()
    sets = usable_sets(args.icons)
    sides = deal_families(sets)
    (Path(__file__).parent / "families.json").write_text(json.dumps(sides, indent=1) + "\n", encoding="utf-8")
    out = args.work / "pretrain"
    out.mkdir(parents=True, exist_ok=True)
    pixels, facts = [], []
    for prefix in tqdm([p for p in sets if family_of(p) in sides["pretrain"]], unit="set"):
        with np.load(args.work / "render" / f"{prefix}.npz") as drawn:
            pixels.append(halve(drawn["pixels"]))
            facts += facts_of_set(args.icons, prefix, drawn["names"].tolist())
    np.save(out / "pixels.npy", np.concatenate(pixels))
    (out / "icons.json").write_text(json.dumps(facts), encoding="utf-8")
    print(f"{len(facts)} pretraining icons, {len({f['concept'] for f in facts})} concepts, {len(pixels)} sets")


if __name__ == "__main__":
    main()
