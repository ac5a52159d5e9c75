"""Step 6: image features of all tasks, and the checksums of the model's files.

    python extract.py --work DIR --datasets DATASETS_FOLDER [--backbone embedded]

Reads DIR/tasks/<task>.npz (pictures, 64 x 64) and each task's split.json; writes
DATASETS_FOLDER/embedded/tasks/<task>/<backbone>/<split>/. A training picture gets the clean view and 8 augmented ones,
validation and test the clean view only. Where a crop would change the label (a copy of a counted icon cut off), crops keep nearly
all of the picture. A view's crop is drawn from a generator that is seeded with the view's number and the
picture's key, so it depends on nothing else. Runs in about a minute on one core, and starts from nothing every time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import open_clip
import torch
from torchvision.transforms.v2.functional import resize, resized_crop
from tqdm import tqdm

from bench.data.features import FeatureWriter

VIEWS = 8
Range = tuple[float, float]
CROPS: tuple[Range, Range] = (0.5, 1.0), (0.8, 1.25)  # scale, aspect
GENTLE_CROPS: dict[str, tuple[Range, Range]] = {"icon_count": ((0.95, 1.0), (0.95, 1.05))}
PREPROCESSING = (
    "64 x 64 RGB picture on white; clean view: antialiased bilinear resize to the model's size; augmented views: RandomResizedCrop "
    "with scale {} and aspect {}, antialiased bilinear, never mirrored (left and right mean something in icons); "
    "normalised with mean and std .5"
)
SPLITS = ("train", "val", "test")


def crop_of(key: str, view: int, scale: Range, aspects: Range) -> tuple[int, int, int, int]:
    """Top, left, height, width of an augmented view's crop of a 64 x 64 picture, as RandomResizedCrop draws them."""
    rng = random.Random(f"{view}:{key}")
    area = rng.uniform(*scale)
    aspect = math.exp(rng.uniform(math.log(aspects[0]), math.log(aspects[1])))
    height, width = (min(64, round(64 * math.sqrt(area * factor))) for factor in (1 / aspect, aspect))
    return rng.randint(0, 64 - height), rng.randint(0, 64 - width), height, width


def views_of(picture: torch.Tensor, key: str, views: int, size: int, crops: tuple[Range, Range]) -> torch.Tensor:
    """[1 + views, 3, size, size], the clean view first."""
    clean = resize(picture, [size, size], antialias=True)
    return torch.stack(
        [clean, *(resized_crop(picture, *crop_of(key, view, *crops), [size, size], antialias=True) for view in range(1, views + 1))]
    )


@torch.inference_mode()
def encode(
    model: torch.nn.Module, pixels: np.ndarray, keys: list[str], views: int, size: int, crops: tuple[Range, Range]
) -> np.ndarray:
    """Features [n, 1 + views, D] of pictures [n, 64, 64, 3]."""
    out = []
    for picture, key in zip(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1, keys, strict=True):
        out.append(views_of(picture, key, views, size, crops))
    images = torch.stack(out)
    flat = images.flatten(0, 1)
    features = torch.cat([model.encode_image(part, normalize=True) for part in flat.split(512)])
    return features.unflatten(0, images.shape[:2]).numpy()


def main() -> None:
    """Extract everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--datasets", type=Path, required=True)
    parser.add_argument("--backbone", default="embedded")
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.datasets / "embedded" / "model"
    model = open_clip.create_model(f"local-dir:{folder}").eval()
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir()) if path.is_file()}
    (args.datasets / "embedded" / "checksums.json").write_text(
        json.dumps({f"model/{name}": digest for name, digest in sums.items()}, indent=1) + "\n", encoding="utf-8"
    )
    size = model.visual.image_size[0] if isinstance(model.visual.image_size, tuple) else model.visual.image_size
    for task in (bar := tqdm(sorted(path.stem for path in (args.work / "tasks").glob("*.npz")), unit="task")):
        bar.set_postfix_str(task)
        home = args.datasets / "embedded" / "tasks" / task
        split = json.loads((home / "split.json").read_text(encoding="utf-8"))
        with np.load(args.work / "tasks" / f"{task}.npz") as saved:
            row, pixels = {key: number for number, key in enumerate(saved["keys"].tolist())}, saved["pixels"]
        crops = GENTLE_CROPS.get(task, CROPS)
        shutil.rmtree(home / args.backbone, ignore_errors=True)
        for side in SPLITS:
            views = VIEWS if side == "train" else 0
            inputs = {
                "weights": sums["open_clip_model.safetensors"],
                "model": "local-dir:embedded/model",
                "open_clip": open_clip.__version__,
                "preprocessing": PREPROCESSING.format(*crops),
                "views": views,
                "view_seeds": "random.Random('VIEW:KEY'), views from 1",
                "normalisation": "L2, then float16",
            }
            keys = [key for key, _, _ in split[side]]
            writer = FeatureWriter(home / args.backbone / side, inputs, dim=model.text_projection.shape[1], views=views)
            writer.append(keys, encode(model, pixels[[row[key] for key in keys]], keys, views, size, crops))
            writer.commit()


if __name__ == "__main__":
    main()
