"""Feature dumps of other projects, read without unpickling anything but tensors, and dumps of ours that others read.

Read are `.npz` and `.pt` files of features and labels, CLIP_benchmark's `features_train.pt` beside `targets_train.pt`,
clip-retrieval's folders of `img_emb/img_emb_*.npy` and `metadata/metadata_*.parquet`, and what is written here.
"""

import posixpath
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.backbones.description import Description
from bench.data.cards import load_card
from bench.data.features import FeatureWriter
from bench.data.splits import Item
from bench.data.task import features_of, split_of
from bench.errors import BenchError
from bench.files import replacing, sha256
from bench.prepare.dataset import Prepared
from bench.spec import digest

# What projects call them: CoOp's linear probe, Tip-Adapter's and CLIP-Adapter's caches, and plain words.
FEATURES = ("features", "feature_list", "image_features", "feats", "x")
LABELS = ("labels", "label_list", "targets", "label", "y")
PATHS = ("paths", "image_paths", "impaths", "files")


def read_dump(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a dump by name: an .npz, a .parquet, a folder of clip-retrieval, or a .pt of tensors.

    A .pt holds a dictionary of tensors, a pair (features, labels), or features alone, whose labels lie beside it as `targets_*.pt`.

    Raises:
        BenchError: It is missing, holds anything but arrays, or has another ending.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as found:
                return {name: found[name] for name in found.files}
        if path.suffix in (".pt", ".pth"):
            return _tensors(path)
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            return {name: _column(table[name]) for name in table.column_names}
        if path.is_dir():
            return _clip_retrieval(path)
    except FileNotFoundError as error:
        raise BenchError(f"dump {path} does not exist.", "Give an existing .npz or .pt file.") from error
    except BenchError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BenchError(f"dump {path} cannot be read safely ({reason}).", "Save plain arrays or tensors.") from error
    raise BenchError(f"dump {path} is neither .npz, .pt nor .parquet.", "Save it as numpy.savez(path, features=…, labels=…).")


def _tensors(path: Path) -> dict[str, NDArray[Any]]:
    import torch  # noqa: PLC0415 - only these files need it

    found = torch.load(path, map_location="cpu", weights_only=True)
    targets = path.with_name(path.name.replace("features", "targets", 1))
    if torch.is_tensor(found) and targets != path and targets.is_file():  # CLIP_benchmark's two files
        found = (found, torch.load(targets, map_location="cpu", weights_only=True))
    if isinstance(found, (tuple, list)) and len(found) == 2:
        found = dict(zip(("features", "labels"), found, strict=True))
    if not isinstance(found, dict):
        raise BenchError(f"dump {path} holds a {type(found).__name__} only.", "Save {'features': …, 'labels': …}.")
    return {str(key): np.asarray(value.float() if torch.is_tensor(value) else value) for key, value in found.items()}


def _column(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column as an array, lists of numbers as its rows."""
    if pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        return np.stack(column.to_numpy())
    return np.asarray(column.to_pylist())


def _clip_retrieval(folder: Path) -> dict[str, NDArray[Any]]:
    """The image embeddings of clip-retrieval with the paths that its metadata gives them, shard by shard."""
    shards = sorted((folder / "img_emb").glob("img_emb_*.npy"))
    if not shards:
        raise BenchError(f"folder {folder} holds no img_emb/img_emb_*.npy of clip-retrieval.", "Give its output folder, or a file.")
    features, paths = [], []
    for shard in shards:
        noted = folder / "metadata" / f"{shard.stem.replace('img_emb', 'metadata')}.parquet"
        if not noted.is_file():
            raise BenchError(f"{shard} has no {noted.relative_to(folder)}: its images have no names.", "Copy the whole folder.")
        features.append(np.load(shard, allow_pickle=False))
        paths += pq.read_table(noted, columns=["image_path"])["image_path"].to_pylist()
        if sum(map(len, features)) != len(paths):
            raise BenchError(
                f"{shard} holds {len(features[-1])} rows, its metadata another number.", "Copy the whole folder again."
            )
    return {"features": np.concatenate(features), "paths": np.asarray(paths)}


def _rows_of(path: Path, names: list[str], items: list[Item], part: str) -> NDArray[np.int64]:
    """The row of each image: its name is the split's path, or ends with it."""
    wanted = {item.path for item in items}
    depths = {name.count("/") + 1 for name in wanted}
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        parts = posixpath.normpath(name.replace("\\", "/")).split("/")
        for tail in {"/".join(parts[-depth:]) for depth in depths} & wanted:
            rows.setdefault(tail, []).append(row)
    if twice := [name for name, found in rows.items() if len(found) > 1]:
        raise BenchError(f"dump {path} names {len(twice)} images twice, such as '{twice[0]}'.", "Every image has one row.")
    if lacking := [item.path for item in items if item.path not in rows]:
        raise BenchError(f"dump {path} lacks {len(lacking)} images of the {part} part, such as '{lacking[0]}'.")
    return np.array([rows[item.path][0] for item in items], dtype=np.int64)


def _pick(found: dict[str, NDArray[Any]], names: tuple[str, ...]) -> NDArray[Any] | None:
    return next((found[name] for name in names if name in found), None)


def order_rows(path: Path, found: dict[str, NDArray[Any]], items: list[Item], part: str) -> NDArray[np.float32]:
    """The features [N, D] of a split part's images in the split's order, checked against their labels.

    A dump that names its images may hold more of them, in any order, and needs no labels; without names its rows must be the
    part's, in order.

    Raises:
        BenchError: No features or labels are found, they are not numbers, or they are not those of the part.
    """
    features, labels, paths = (_pick(found, names) for names in (FEATURES, LABELS, PATHS))
    if features is None or (labels is None and paths is None):
        missing = "features" if features is None else "labels"
        raise BenchError(f"dump {path} has no {missing} (it has: {', '.join(found)}).", f"Call them '{missing}'.")
    for what, found_ones in (("labels", labels), ("paths", paths)):
        if features.ndim != 2 or (found_ones is not None and found_ones.shape != features.shape[:1]):
            told = f"features {list(features.shape)} and {what} {list(found_ones.shape) if found_ones is not None else []}"
            raise BenchError(f"dump {path} has {told}, not [N, D] and [N].")
    if features.dtype.kind not in "fiu":
        raise BenchError(f"dump {path} has features of type {features.dtype}.", "Save real numbers.")
    if labels is not None and (labels.dtype.kind not in "fiu" or not np.array_equal(labels, labels.astype(np.int64))):
        raise BenchError(f"dump {path} has labels that are not whole numbers.", "Save class numbers in the order of the card.")
    if paths is not None:
        order = _rows_of(path, [str(name) for name in paths.tolist()], items, part)
        features, labels = features[order], None if labels is None else labels[order]
    if len(features) != len(items):
        raise BenchError(
            f"dump {path} has {len(features)} rows, the {part} part {len(items)} images.", "Rows are in the split's order."
        )
    differ = np.flatnonzero([] if labels is None else labels.astype(np.int64) != [item.label for item in items])
    if labels is not None and len(differ):
        first = items[differ[0]]
        raise BenchError(
            f"dump {path} says row {differ[0]} is of class {int(labels[differ[0]])}, the split {first.label} ('{first.path}').",
            "Rows are in the split's order; name them with an array 'paths' where they are not.",
        )
    lengths = np.linalg.norm(features.astype(np.float32), axis=1)
    if len(odd := np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))):
        raise BenchError(f"dump {path} has {len(odd)} rows of features that are not finite, or zero: '{items[odd[0]].path}' first.")
    return features.astype(np.float32)


def _dump_digest(path: Path) -> str:
    """Identifies a dump: the SHA-256 of its file, or of a folder's files."""
    return digest([sha256(file) for file in sorted(path.glob("*/*"))]) if path.is_dir() else sha256(path)


def import_dump(made: Prepared, backbone: Description, part: str, path: Path) -> int:
    """Make the cache of a split part from a dump: the clean view only. Returns the number of images.

    Raises:
        BenchError: The dump does not fit the part, or the cache was made from something else.
    """
    items = getattr(made.split, part)
    features = order_rows(path, read_dump(path), items, part)
    inputs = {**backbone.content, "dump": _dump_digest(path), "views": 0, "normalisation": "L2", "split": made.digest}
    writer = FeatureWriter(made.folder / backbone.slug / part, inputs, features.shape[1], 0)
    held = writer.contents
    new = [i for i, item in enumerate(items) if item.path not in held]
    if new:
        writer.append([items[i].path for i in new], features[new][:, None])
        writer.commit()
    return len(items)


def export_dump(dataset: str, slug: str, part: str, path: Path) -> int:
    """Write the clean features of a part's cached images as .npz or .parquet, in the split's order. Returns their number.

    An .npz holds `features` float32 [N, D], `labels` int64 [N], `paths` [N] and `classes` [C]; a .parquet the columns path, label,
    class and features.

    Raises:
        BenchError: There are no such features, or the file cannot be written.
    """
    card, held = load_card(dataset), features_of(dataset, slug, part)
    items = [item for item in getattr(split_of(dataset), part) if item.path in held.contents]
    features = held.stored([item.path for item in items], 1)[:, 0].astype(np.float32)
    labels, paths = np.array([item.label for item in items], dtype=np.int64), [item.path for item in items]
    with replacing(path) as aside:
        if path.suffix == ".npz":
            with aside.open("wb") as file:
                np.savez(file, features=features, labels=labels, paths=np.array(paths), classes=np.array(card.classes))
        else:
            rows = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
            names = pa.array([card.classes[label] for label in labels])
            pq.write_table(pa.table({"path": paths, "label": labels, "class": names, "features": rows}), aside)
    return len(items)
