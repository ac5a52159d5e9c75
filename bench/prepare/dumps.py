"""Feature dumps of other projects: `.npz` and `.pt` files of features and labels, read without unpickling anything but tensors."""

import posixpath
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.backbones.description import Description
from bench.data.features import FeatureWriter
from bench.data.splits import Item
from bench.errors import BenchError
from bench.files import sha256
from bench.prepare.dataset import Prepared

# What projects call them: CoOp's linear probe, Tip-Adapter's and CLIP-Adapter's caches, and plain words.
FEATURES = ("features", "feature_list", "image_features", "feats", "x")
LABELS = ("labels", "label_list", "targets", "label", "y")
PATHS = ("paths", "image_paths", "impaths", "files")


def read_dump(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a dump by name: an .npz, or a .pt that holds a dictionary of tensors or a pair (features, labels).

    Raises:
        BenchError: It is missing, holds anything but arrays, or has another ending.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        if path.suffix in (".pt", ".pth"):
            return _tensors(path)
    except FileNotFoundError as error:
        raise BenchError(f"dump {path} does not exist.", "Give an existing .npz or .pt file.") from error
    except BenchError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BenchError(f"dump {path} cannot be read safely ({reason}).", "Save plain arrays or tensors.") from error
    raise BenchError(f"dump {path} is neither .npz nor .pt.", "Save it as numpy.savez(path, features=…, labels=…).")


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    import torch  # noqa: PLC0415 - only these files need it

    found = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(found, (tuple, list)) and len(found) == 2:
        found = dict(zip(("features", "labels"), found, strict=True))
    if not isinstance(found, dict):
        raise BenchError(f"dump {path} holds a {type(found).__name__} only.", "Save {'features': …, 'labels': …}.")
    return {str(key): np.asarray(value.float() if torch.is_tensor(value) else value) for key, value in found.items()}


def _pick(found: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((found[name] for name in names if name in found), None)


def order_rows(path: Path, found: dict[str, NDArray[Any]], items: list[Item], part: str) -> NDArray[np.float32]:
    """The features [N, D] of a split part's images in the split's order, checked against their labels.

    A dump that names its images may hold more of them, in any order; without names its rows must be the part's, in order.

    Raises:
        BenchError: No features or labels are found, or they are not those of the part.
    """
    features, labels, paths = (_pick(found, names) for names in (FEATURES, LABELS, PATHS))
    if features is None or labels is None:
        missing = "features" if features is None else "labels"
        raise BenchError(f"dump {path} has no {missing} (it has: {', '.join(found)}).", f"Call them '{missing}'.")
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise BenchError(f"dump {path} has features {list(features.shape)} and labels {list(labels.shape)}, not [N, D] and [N].")
    if paths is not None:
        row = {posixpath.normpath(str(name)): i for i, name in enumerate(paths.tolist())}
        if len(row) < len(paths):
            raise BenchError(f"dump {path} names {len(paths) - len(row)} images twice.", "Every image has one row.")
        if lacking := [item.path for item in items if item.path not in row]:
            raise BenchError(f"dump {path} lacks {len(lacking)} images of the {part} part, such as '{lacking[0]}'.")
        order = np.array([row[item.path] for item in items])
        features, labels = features[order], labels[order]
    if len(features) != len(items):
        raise BenchError(
            f"dump {path} has {len(features)} rows, the {part} part {len(items)} images.", "Rows are in the split's order."
        )
    differ = np.flatnonzero(labels.astype(np.int64) != [item.label for item in items])
    if len(differ):
        first = items[differ[0]]
        raise BenchError(
            f"dump {path} says row {differ[0]} is of class {int(labels[differ[0]])}, the split {first.label} ('{first.path}').",
            "Rows are in the split's order; name them with an array 'paths' where they are not.",
        )
    return features.astype(np.float32)


def import_dump(made: Prepared, backbone: Description, part: str, path: Path) -> int:
    """Make the cache of a split part from a dump: the clean view only. Returns the number of images.

    Raises:
        BenchError: The dump does not fit the part, or the cache was made from something else.
    """
    items = getattr(made.split, part)
    features = order_rows(path, read_dump(path), items, part)
    inputs = {**backbone.content, "dump": sha256(path), "views": 0, "normalisation": "L2", "split": made.digest}
    writer = FeatureWriter(made.folder / backbone.slug / part, inputs, features.shape[1], 0)
    held = writer.contents
    new = [i for i, item in enumerate(items) if item.path not in held]
    if new:
        writer.append([items[i].path for i in new], features[new][:, None])
        writer.commit()
    return len(items)
