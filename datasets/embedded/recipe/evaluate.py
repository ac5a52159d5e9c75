"""Step 8: what the model can do, task by task, as a Markdown table for the README; nothing is chosen by it.

    python evaluate.py --datasets DATASETS_FOLDER

Zero-shot is the cosine with the card's first template; the probe is a logistic regression (C = 100, fixed) on 16 shots per class
(seed 1) of cached clean features, which shows how much there is to learn from the shots.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections import defaultdict
from pathlib import Path

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from sklearn.linear_model import LogisticRegression

from bench.data.features import open_features


def clean(folder: Path, items: list[list]) -> tuple[np.ndarray, np.ndarray]:
    """Clean features and labels of split items."""
    return open_features(folder).rows([key for key, _, _ in items])[:, 0], np.array([label for _, label, _ in items])


def shots(items: list[list], count: int, seed: int) -> list[list]:
    """`count` items per class, drawn as CoOp draws them."""
    by_class: dict[int, list[list]] = defaultdict(list)
    for item in items:
        by_class[item[1]].append(item)
    rng = random.Random(seed)
    return [item for members in by_class.values() for item in rng.sample(members, count)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.datasets / "embedded" / "model"
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    tokenizer = SimpleTokenizer(bpe_path=str(folder / "bpe_6000.txt.gz"), context_length=32)
    scores: dict[str, list[float]] = {"in": [], "out": []}
    head = ("task", "classes", "train / val / test", "chance", "zero-shot", "linear probe, 16 shots")
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    cards = [tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(args.datasets.glob("*.toml"))]
    for card in sorted((card for card in cards if "domain" in card), key=lambda card: (card["domain"], card["name"])):
        home = args.datasets / card["features"] / "embedded"
        split = json.loads((args.datasets / card["split"]).read_text(encoding="utf-8"))
        prompts = [card["templates"][0].format(name.replace("_", " ")) for name in card["classes"]]
        with torch.inference_mode():
            text = model.encode_text(tokenizer(prompts), normalize=True).numpy()
        test, labels = clean(home / "test", split["test"])
        zero_shot = ((test @ text.T).argmax(1) == labels).mean()
        probe = LogisticRegression(C=100, max_iter=500).fit(*clean(home / "train", shots(split["train"], 16, 1)))
        scores[card["domain"]].append(zero_shot)
        print(
            f"| {card['name']} | {len(card['classes'])} | {' / '.join(str(card['counts'][s]) for s in ('train', 'val', 'test'))} "
            f"| {100 / len(card['classes']):.1f} | {100 * zero_shot:.1f} | {100 * probe.score(test, labels):.1f} |",
            flush=True,
        )
    for domain, values in scores.items():
        print(f"mean zero-shot, domain {domain}: {100 * np.mean(values):.1f} over {len(values)} tasks")


if __name__ == "__main__":
    main()
