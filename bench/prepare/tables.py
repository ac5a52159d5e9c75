"""Images in tables: Hugging Face datasets as parquet shards or Arrow streams, read a few rows at a time.

An image is called `<shard below the root>/<row>`; rows are padded with zeros, so that the order of names is that of the shards.
"""

import json
import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data.cards import Card, prompt_name
from bench.data.splits import Item, Split
from bench.errors import BenchError
from bench.prepare.folders import PART_OF, check_classes

FETCH = "Fetch the dataset again."
IMAGES = ("image", "img", "jpg", "png", "webp", "image_path", "path", "file_name")  # what columns are called without such notes
LABELS = ("label", "labels", "class", "cls", "target")
ROWS = 8  # images of a parquet shard that are held at a time; of more, each takes longer
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"
# "train-00000-of-00002" of the hub (with 16 digits of a hash until 2023), "NAME-train" of the cache, "data-00000-of-00001" of
# save_to_disk, "0000" of converted ones
STEM = re.compile(r"(?:.*-)?(?P<part>[a-z]+)(?:-(?P<number>\d{5})-of-(?P<of>\d{5})(?:-[0-9a-f]{16})?)?|(?P<plain>\d{4})")


class Columns(NamedTuple):
    """Which columns of a dataset are its images and labels, and what the labels are called."""

    image: str
    label: str
    names: tuple[str, ...]  # () where the schema does not say
    types: tuple[str, str]


def shards_of(root: Path) -> dict[str, list[Path]]:
    """The shards of each part below a folder, in order.

    Raises:
        BenchError: There are none, one is missing from a series, or several configurations lie there.
    """
    found: dict[str, dict[tuple[Path, int], list[tuple[int, Path]]]] = {}
    for path in sorted(p for ending in ("parquet", "arrow") for p in root.rglob(f"*.{ending}")):
        shape = STEM.fullmatch(path.stem)
        alone = "train" if (path.parent / "state.json").is_file() else None  # one Dataset that was saved, not a DatasetDict
        part = PART_OF.get((shape["part"] or "") if shape else "") or PART_OF.get(path.parent.name, alone)
        if shape and part and not path.name.startswith("cache-"):
            series = (path.parent, int(shape["of"] or 0))
            found.setdefault(part, {}).setdefault(series, []).append((int(shape["number"] or shape["plain"] or 0), path))
    if not found:
        raise BenchError(f"{root} holds no parquet or arrow shards that are called train, validation or test.", FETCH)
    whole: dict[str, list[Path]] = {}
    for part, by_series in found.items():
        if len(by_series) > 1:
            where = " and ".join(sorted(str(members[0][1].relative_to(root)) for members in by_series.values())[:2])
            raise BenchError(f"{root} holds {part} twice: {where}.", "Name the folder of one configuration.")
        ((folder, of), numbered) = next(iter(by_series.items()))
        count = of or max(number for number, _ in numbered) + 1
        if missing := sorted(set(range(count)) - {number for number, _ in numbered}):
            raise BenchError(f"shard {missing[0]} of the {count} {part} shards in {folder} is missing.", FETCH)
        whole[part] = [path for _, path in sorted(numbered)]
    return whole


def _schema(path: Path) -> pa.Schema:
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path)
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_stream(file).schema
    except (OSError, pa.ArrowException) as error:
        raise BenchError(f"shard {path} is truncated or not {path.suffix[1:]} ({_first(error)}).", FETCH) from error


def _first(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _noted(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What `datasets` has noted of the columns in a schema; nothing where its note has another form, as of other programs."""
    try:
        found = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: kind for name, kind in found.items() if name in schema.names and isinstance(kind, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_named(kind: dict[str, Any]) -> bool:
    """Whether a column is noted as class labels whose names are told."""
    names = kind.get("names")
    return kind.get("_type") == "ClassLabel" and isinstance(names, list) and all(isinstance(name, str) for name in names)


def _image_column(path: Path, schema: pa.Schema) -> str:
    images = [name for name, kind in _noted(schema).items() if kind.get("_type") == "Image"]
    images = images or [f.name for f in schema if pa.types.is_struct(f.type) and {c.name for c in f.type} >= {"bytes", "path"}]
    images = images or [name for name in IMAGES if name in schema.names]
    if len(images) != 1:
        told = f"{len(images)} image columns ({', '.join(images)})" if images else "no image column"
        raise BenchError(f"shard {path} has {told}; it has: {', '.join(schema.names)}.", "One column holds the images.")
    return images[0]


def columns_of(path: Path, label: str = "") -> Columns:
    """The image and label columns of a shard, as `datasets` has noted them in its schema, else by their types and names.

    Args:
        path: The shard.
        label: The label column, where there are several.

    Raises:
        BenchError: There is no such column, or more than one.
    """
    schema = _schema(path)
    image = _image_column(path, schema)
    named = {name: tuple(kind["names"]) for name, kind in _noted(schema).items() if _is_named(kind)}
    labels = [label] if label else list(named) or [name for name in LABELS if name in schema.names]
    if len(labels) != 1 or labels[0] not in schema.names:
        told = f"{len(labels)} label columns ({', '.join(labels)})" if len(labels) > 1 else f"no label column {label}".rstrip()
        hint = f'Name it in the card: [source] label = "{labels[0] if labels else "…"}".'
        raise BenchError(f"shard {path} has {told}; it has: {', '.join(schema.names)}.", hint)
    types = (str(schema.field(image).type), str(schema.field(labels[0]).type))
    return Columns(image, labels[0], named.get(labels[0], ()), types)


def _labels(path: Path, column: str) -> list[Any]:
    try:
        if path.suffix == ".parquet":
            return list(pq.read_table(path, columns=[column], use_threads=False, partitioning=None)[column].to_pylist())
        with path.open("rb") as file:
            file.seek(-len(END_OF_STREAM), os.SEEK_END)
            if file.read() != END_OF_STREAM:
                raise BenchError(f"shard {path} is truncated: its end is missing.", FETCH)
        return list(_stream(str(path), path.stat().st_mtime_ns)[column].to_pylist())
    except (OSError, pa.ArrowException) as error:
        raise BenchError(f"shard {path} is truncated or damaged ({_first(error)}).", FETCH) from error


def class_names(shards: dict[str, list[Path]], label: str = "") -> list[str]:
    """The classes of a dataset in label order, as its schema says, else its labels' own names sorted.

    Raises:
        BenchError: Labels are numbers without names.
    """
    columns = columns_of(shards["train"][0], label) if "train" in shards else None
    if columns is None:
        raise BenchError(f"there are only {' and '.join(sorted(shards))} shards, none to train on.", FETCH)
    if columns.names:
        return list(columns.names)
    found = {name for paths in shards.values() for path in paths for name in _labels(path, columns.label)}
    if odd := [name for name in found if not isinstance(name, str)]:
        raise BenchError(
            f"column '{columns.label}' of {shards['train'][0]} holds {odd[0]!r}, and does not say what the classes are called.",
            "Write a card that names them (datasets/README.md).",
        )
    return sorted(found)


def read_huggingface(card: Card, images: Path, split: Path) -> Split:
    """Parquet shards as a hub repository holds them, `save_to_disk` folders, and the cache of `datasets`.

    Raises:
        BenchError: A shard is missing, damaged or of another schema, or its classes are not the card's.
    """
    del split
    label = card.source.label if card.source else ""
    shards = shards_of(images)
    first = next(iter(shards.values()))[0]
    columns = columns_of(first, label)
    if columns.names:
        check_classes(card, list(columns.names), str(first))
    label_of = {prompt_name(name): number for number, name in enumerate(card.classes)}
    parts: dict[str, list[Item]] = {}
    for part, path in ((part, path) for part, paths in shards.items() for path in paths):
        if (here := columns_of(path, label)) != columns:
            told = " and ".join(
                f"{c.image}: {c.types[0]}, {c.label}: {c.types[1]} of {len(c.names)} names" for c in (columns, here)
            )
            raise BenchError(f"shard {path} has another schema than {first} ({told}).", FETCH)
        where = path.relative_to(images).as_posix()
        for row, value in enumerate(_labels(path, columns.label)):
            parts.setdefault(part, []).append(Item(f"{where}/{row:07d}", number_of(value, label_of, str(path), row)))
    return Split(parts.get("train", []), parts.get("val", []), parts.get("test", []))


def number_of(value: Any, label_of: dict[str, int], where: str, row: int) -> int:
    """A label as a class number: a name is looked up, a number must be one of a class.

    Raises:
        BenchError: It is neither.
    """
    named = label_of.get(prompt_name(value)) if isinstance(value, str) else None
    number = isinstance(value, int) or (isinstance(value, str) and value.strip().isdecimal())
    found = named if named is not None else int(value) if number else -1
    if not 0 <= found < len(label_of):
        raise BenchError(f"row {row} of {where} has the label {value!r}, which is not one of the card's {len(label_of)}.",
                         "-1 stands for images without a label, which cannot be used; else correct the card.")  # fmt: skip
    return found


class Rows:
    """The image column of a parquet shard, read forward a few rows at a time; going back starts its row group again."""

    def __init__(self, path: Path, column: str) -> None:
        self.column = column
        self.file = pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
        groups = range(self.file.metadata.num_row_groups)
        self.starts = np.cumsum([0, *(self.file.metadata.row_group(group).num_rows for group in groups)]).tolist()
        self.group, self.first = -1, 0
        self.held: list[Any] = []
        self.batches: Iterator[Any] = iter(())

    def __getitem__(self, row: int) -> Any:
        if not 0 <= row - self.first < len(self.held):
            self._go_to(row)
        return self.held[row - self.first]

    def _go_to(self, row: int) -> None:
        group = bisect_right(self.starts, row) - 1
        if group != self.group or row < self.first:
            self.group, self.first, self.held = group, self.starts[group], []
            self.batches = self.file.iter_batches(ROWS, row_groups=[group], columns=[self.column], use_threads=False)
        while row >= self.first + len(self.held):
            self.first += len(self.held)
            self.held = _images(next(self.batches).column(0))


def _images(column: pa.Array) -> list[Any]:
    """The bytes or the path of each image of a column: at once, as one row after the other takes twice as long."""
    if not pa.types.is_struct(column.type):
        return list(column.to_pylist())
    inside = column.field("bytes").to_pylist()
    if None in inside:
        inside = [path if data is None else data for data, path in zip(inside, column.field("path").to_pylist(), strict=True)]
    return list(inside)


@lru_cache(maxsize=2)
def _rows(path: str, changed: int, process: int) -> Rows:
    del changed, process  # a changed file is another one, and two processes cannot share an open one
    return Rows(Path(path), _image_column(Path(path), _schema(Path(path))))


@lru_cache(maxsize=8)
def _stream(path: str, changed: int) -> pa.Table:
    del changed
    return pa.ipc.open_stream(pa.memory_map(path)).read_all()  # maps the file: nothing is copied


@lru_cache(maxsize=8)
def _mapped_images(path: str, changed: int) -> pa.ChunkedArray:
    table = _stream(path, changed)
    return table[_image_column(Path(path), table.schema)]


def cell(root: Path, path: str) -> bytes:
    """The bytes of the image `<shard>/<row>`: they are in the table, or in a file whose path is.

    Raises:
        OSError, ValueError: The shard is damaged, or the image is in neither.
    """
    name, _, row = path.rpartition("/")
    shard = f"{root}/{name}"
    changed = os.stat(shard).st_mtime_ns  # noqa: PTH116 - making a Path for every row takes as long as reading it
    try:
        if name.endswith(".parquet"):
            value = _rows(shard, changed, os.getpid())[int(row)]
        else:
            value = _images(_mapped_images(shard, changed).slice(int(row), 1).combine_chunks())[0]
    except (IndexError, StopIteration) as error:
        raise OSError("the table has no such row any more") from error
    if isinstance(value, str):
        return (root / value).read_bytes()
    if not isinstance(value, bytes):
        raise OSError("the table holds neither its bytes nor its path")
    return value
