"""Readers of splits as datasets' authors lay them out. Each gives a `Split` whose paths are relative to the image root.

A reader takes the card, the image root and the split file (or the folder of its lists).
"""

import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.data.cards import Card
from bench.data.splits import Item, Split, check_split, read_split
from bench.errors import BenchError
from bench.files import read_text
from bench.prepare.archives import imagenet_tars, read_imagenet_tars, read_webdataset
from bench.prepare.csv_lists import read_csv
from bench.prepare.folders import folders_of, images_of, read_folders, with_test
from bench.prepare.human import read_arrays
from bench.prepare.tables import read_huggingface

# Classes of torchvision.datasets, and what they call train, val and test.
TORCHVISION = {
    "DTD": ("train", "val", "test"),
    "Flowers102": ("train", "val", "test"),
    "Food101": ("train", "", "test"),
    "OxfordIIITPet": ("trainval", "", "test"),
}
MINI_WEBVISION = 50  # classes; training images of Google's search only (Chen et al., ICML 2019)


def read_source(card: Card, images: Path, split: Path) -> Split:
    """The split of a card's dataset, checked against the card.

    Args:
        card: The card; its `source.format` names the reader.
        images: The folder that paths are relative to.
        split: The split file, or the folder of the split's lists.

    Raises:
        BenchError: A file is missing or does not fit the card.
    """
    if card.source is None:
        raise BenchError(f"dataset '{card.name}' has no [source]; its features ship with it.", "Nothing needs to be extracted.")
    read = READERS[card.source.format](card, images, split)
    found = Split(*([Item(posixpath.normpath(item.path), item.label) for item in part] for part in read))  # "./a.jpg" is "a.jpg"
    where = split if card.source.split and split.exists() else images
    found = with_test(found, card.source.make_test, where)
    check_split(found, len(card.classes), card.counts, where)
    return found


def _coop(card: Card, images: Path, split: Path) -> Split:
    """CoOp's split_zhou_*.json."""
    del images
    return read_split(split, card.classes)


def _lines(path: Path) -> list[str]:
    """The lines of a list file that are not empty."""
    text = read_text(path, "list", "Run `bench doctor` to see which files a dataset needs.")
    return [line.strip() for line in text.split("\n") if line.strip()]


def _labelled(path: Path) -> list[tuple[str, int]]:
    """The lines "<path> <label>" of a list file."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        name, _, label = line.rpartition(" ")
        if not (name and label.isdecimal()):
            raise BenchError(f"line {number} of {path} is not '<path> <label>': '{line}'.", "Correct the list.")
        rows.append((name.strip(), int(label)))
    return rows


def _aircraft(card: Card, images: Path, split: Path) -> Split:
    """FGVC-Aircraft: `variants.txt` and `images_variant_{train,val,test}.txt`, lines "<image id> <variant>"."""
    del images
    variants = _lines(split / "variants.txt")
    if variants != [name.replace("_", " ") for name in card.classes]:
        raise BenchError(f"{split / 'variants.txt'} lists other classes than the card.", "Give FGVC-Aircraft's data folder.")
    label_of = {name: label for label, name in enumerate(variants)}

    def part(name: str) -> list[Item]:
        rows = [line.split(" ", 1) for line in _lines(split / f"images_variant_{name}.txt")]
        if unknown := [row for row in rows if len(row) < 2 or row[1] not in label_of]:
            raise BenchError(f"{split}/images_variant_{name}.txt has the line '{' '.join(unknown[0])}', not a variant's name.")
        return [Item(f"{image}.jpg", label_of[variant]) for image, variant in rows]

    return Split(part("train"), part("val"), part("test"))


def _imagenet(card: Card, images: Path, split: Path) -> Split:
    """ImageNet as CoOp has it: `classnames.txt` with lines "<wnid> <name>", `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`.

    Or its archives as they are fetched, and the development kit, which gives the same. Labels follow the sorted wnids; the
    50,000 validation images are the test part, and there is no validation part.
    """
    if imagenet_tars(images):
        return read_imagenet_tars(card, images)
    wnids = sorted(line.split(" ", 1)[0] for line in _lines(split))

    def part(name: str) -> list[Item]:
        if folders_of(images / name) != wnids or len(wnids) != len(card.classes):
            raise BenchError(f"{images / name} does not hold one folder for each of the {len(card.classes)} wnids of {split}.")
        return [Item(f"{name}/{w}/{file}", label) for label, w in enumerate(wnids) for file in images_of(images / name / w)]

    return Split(part("train"), [], part("val"))


def _lists(card: Card, images: Path, split: Path) -> Split:
    """Plain lists: `train.txt`, `test.txt` and perhaps `val.txt` with lines "<path> <label>"."""
    del card, images
    val = _labelled(split / "val.txt") if (split / "val.txt").exists() else []
    return Split(*([Item(*row) for row in rows] for rows in (_labelled(split / "train.txt"), val, _labelled(split / "test.txt"))))


def _torchvision(card: Card, images: Path, split: Path) -> Split:
    """The split of a class of torchvision.datasets, which is not CoOp's: its numbers do not compare with CoOp's."""
    import torchvision  # noqa: PLC0415 - only these datasets need it

    name = split.name
    if name not in TORCHVISION:
        raise BenchError(f"card '{card.name}' names no known class of torchvision: '{name}'.", f"Known: {', '.join(TORCHVISION)}.")

    def part(called: str) -> list[Item]:
        if not called:
            return []
        try:
            data = getattr(torchvision.datasets, name)(images, split=called, download=False)
        except (RuntimeError, OSError) as error:
            raise BenchError(f"torchvision does not find {name} in {images} ({error}).", card.how_to_get) from error
        files = data._images if name == "OxfordIIITPet" else data._image_files  # torchvision has no public list
        return [
            Item(Path(file).relative_to(images).as_posix(), int(label)) for file, label in zip(files, data._labels, strict=True)
        ]

    return Split(*(part(called) for called in TORCHVISION[name]))


def _cifar(card: Card, images: Path, split: Path) -> Split:
    """CIFAR's python batches; image i of the training files is called "train/<i>", in torchvision's order."""
    del card, images
    parts = {part: [int(label) for batch in cifar_batches(split, part) for label in batch["labels"]] for part in ("train", "test")}
    return Split(*([Item(f"{part}/{i:05d}", label) for i, label in enumerate(parts.get(part, []))] for part in Split._fields))


def cifar_batches(folder: Path, part: str) -> list[dict[str, Any]]:
    """CIFAR's batches of a part as {"labels": list of int, "data": uint8 [n, 3072]}: CIFAR-100's fine labels, or CIFAR-10's."""
    if (folder / "train").exists():
        found = [read_arrays(folder / part)]
    elif part == "train":
        found = [read_arrays(folder / f"data_batch_{i}") for i in range(1, 6)]
    else:
        found = [read_arrays(folder / "test_batch")]
    return [{"labels": batch.get("fine_labels", batch.get("labels")), "data": batch["data"]} for batch in found]


def _animal10n(card: Card, images: Path, split: Path) -> Split:
    """ANIMAL-10N: `training/<label>_<number>.jpg` and `testing/…`."""
    del card, split

    def part(folder: str) -> list[Item]:
        folders_of(images / folder)
        names = images_of(images / folder)
        if odd := [name for name in names if not name.split("_")[0].isdecimal()]:
            raise BenchError(f"{images / folder / odd[0]} is not called '<label>_<number>.jpg'.", "Unpack ANIMAL-10N again.")
        return [Item(f"{folder}/{name}", int(name.split("_")[0])) for name in names]

    return Split(part("training"), [], part("testing"))


def _food101n(card: Card, images: Path, split: Path) -> Split:
    """Food-101N's `meta/imagelist.tsv` (a heading, then "<class>/<image>") to train on, Food-101's `meta/test.txt` to test on.

    The two lie side by side as `Food-101N_release` and `food-101`.
    """
    label_of = {name.replace(" ", "_"): label for label, name in enumerate(card.classes)}
    food101 = images / "food-101"

    def items(rows: list[str], prefix: str, suffix: str) -> list[Item]:
        if unknown := [row for row in rows if row.split("/")[0] not in label_of]:
            raise BenchError(f"'{unknown[0]}' in the lists of {split} belongs to no class of the card.", "Unpack Food-101N again.")
        return [Item(f"{prefix}/{row}{suffix}", label_of[row.split("/")[0]]) for row in rows]

    train = [row.split("\t")[0] for row in _lines(split / "imagelist.tsv")[1:]]
    test = _lines(food101 / "meta" / "test.txt")
    return Split(items(train, "Food-101N_release/images", ""), [], items(test, "food-101/images", ".jpg"))


def _clothing1m(card: Card, images: Path, split: Path) -> Split:
    """Clothing1M's key lists and label files: the million images with noisy labels, and the clean validation and test images."""
    del card, images
    noisy, clean = (dict(_labelled(split / f"{name}_label_kv.txt")) for name in ("noisy", "clean"))

    def part(name: str, labels: dict[str, int]) -> list[Item]:
        keys = _lines(split / f"{name}_key_list.txt")
        if unknown := [key for key in keys if key not in labels]:
            raise BenchError(f"{split}/{name}_key_list.txt holds '{unknown[0]}', which has no label.", "Unpack Clothing1M again.")
        return [Item(key, labels[key]) for key in keys]

    return Split(part("noisy_train", noisy), part("clean_val", clean), part("clean_test", clean))


def _webvision(card: Card, images: Path, split: Path) -> Split:
    """WebVision 1.0's `train_filelist_google.txt` and `val_filelist.txt`, the first 50 classes: "mini WebVision"."""
    del card, images
    train = [Item(path, label) for path, label in _labelled(split / "train_filelist_google.txt") if label < MINI_WEBVISION]
    test = [Item(f"val_images_256/{p}", label) for p, label in _labelled(split / "val_filelist.txt") if label < MINI_WEBVISION]
    return Split(train, [], test)


READERS: dict[str, Callable[[Card, Path, Path], Split]] = {
    "coop": _coop,
    "aircraft": _aircraft,
    "imagenet": _imagenet,
    "lists": _lists,
    "folders": read_folders,
    "torchvision": _torchvision,
    "cifar": _cifar,
    "animal10n": _animal10n,
    "food101n": _food101n,
    "clothing1m": _clothing1m,
    "webvision": _webvision,
    "huggingface": read_huggingface,
    "webdataset": read_webdataset,
    "csv": read_csv,
}
