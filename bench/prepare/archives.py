"""Images in tar files, read where they lie: webdataset shards as CLIP_benchmark lays them out, and ImageNet's own archives.

An archive's headers are read once, which gives the place of every member; an image is then one read at that place.
"""

import os
import posixpath
import re
import tarfile
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import scipy.io

from bench.data.cards import Card
from bench.data.splits import Item, Split
from bench.errors import BenchError
from bench.files import read_text
from bench.prepare.folders import SUFFIXES, check_classes, parts_of

FETCH = "Fetch it again."
DIGITS = 9  # of a class number, at most
END = 512  # bytes of zeros that close an archive
TRAIN_TAR, VAL_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"


class Place(NamedTuple):
    """Where a member's bytes are."""

    start: int
    size: int


def index(path: Path) -> dict[str, Place]:
    """The files in a tar, by name in shortest form, in the archive's order.

    Raises:
        BenchError: It is missing, truncated, compressed, no tar, or holds a name twice.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise BenchError(f"archive {path} cannot be read ({error.strerror}).", FETCH) from error
    return _index(str(path), about.st_mtime_ns, about.st_size)


@cache
def _index(path: str, changed: int, size: int) -> dict[str, Place]:
    del changed  # a changed file is another one
    try:
        with Path(path).open("rb") as file:
            return _members(Path(path), file, 0, size)
    except OSError as error:
        raise BenchError(f"archive {path} cannot be read ({error.strerror}).", FETCH) from error


def _members(path: Path, file: IO[bytes], start: int, size: int) -> dict[str, Place]:
    """The members of the tar at a place of a file; the sentences name `path`."""
    found: dict[str, Place] = {}
    end = start
    try:
        file.seek(start)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if member.isfile():
                    name = posixpath.normpath(member.name)
                    if name in found:
                        raise BenchError(f"archive {path} holds '{name}' twice.", "Every file has a name of its own.")
                    found[name] = Place(member.offset_data, member.size)
                end = member.offset_data + (member.size + 511) // 512 * 512
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise BenchError(f"archive {path} is truncated, or not a plain tar ({error}).", FETCH + " Unpack .gz first.") from error
    file.seek(end)
    # A tar ends with a block of zeros; without it, it may have been cut exactly between two files.
    if end + END > start + size or any(file.read(END)):
        raise BenchError(f"archive {path} is truncated: its end is missing.", FETCH)
    return found


def member(path: Path, place: Place) -> bytes:
    """The bytes at a place in a file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.pread(handle, place.size, place.start)
    finally:
        os.close(handle)


def in_tar(root: Path, path: str) -> tuple[Path, Place | None]:
    """The archive that holds `<archive below root>.tar/<name>`, and the place in it, if it is there."""
    shard, _, name = path.partition(".tar/")
    archive = root / f"{shard}.tar"
    try:
        about = archive.stat()
    except OSError:
        return archive, None
    return archive, _index(str(archive), about.st_mtime_ns, about.st_size).get(name)


def part_shards(folder: Path) -> list[Path]:
    """The shards of a part, `0.tar` … `n-1.tar`, as many as `nshards.txt` says where it is there.

    Raises:
        BenchError: One is missing.
    """
    by_number = {int(found.group()): path for path in folder.glob("*.tar") if (found := re.search(r"\d+$", path.stem))}
    told = folder / "nshards.txt"
    text = read_text(told).strip() if told.is_file() else str(max(by_number, default=-1) + 1)
    if not text.isdecimal():
        raise BenchError(f"{told} is not a number of shards: '{text[:40]}'.", FETCH)
    if len(by_number) != len(list(folder.glob("*.tar"))) or set(by_number) - set(range(int(text))):
        raise BenchError(f"{folder} holds other archives than shards 0 to {int(text) - 1}.", "Shards are called 0.tar, 1.tar, …")
    if missing := [number for number in range(int(text)) if number not in by_number]:
        raise BenchError(f"shard {missing[0]} of the {text} of {folder} is missing.", FETCH)
    return [by_number[number] for number in sorted(by_number)]


def read_webdataset(card: Card, images: Path, split: Path) -> Split:
    """CLIP_benchmark's layout: `classnames.txt`, `{train,test}/nshards.txt`, `{train,test}/<n>.tar` of `<key>.jpg` and `<key>.cls`.

    Raises:
        BenchError: A shard is missing or damaged, a sample has no label or image, a key comes twice, or the classes are others.
    """
    del split
    if (names := images / "classnames.txt").is_file():
        check_classes(card, [line for line in read_text(names).split("\n") if line.strip()], str(names))
    found = parts_of(images, lambda folder: list(folder.glob("*.tar")))
    parts = {part: _samples(folder, images) for part, folder in found.items()}
    return Split(parts.get("train", []), parts.get("val", []), parts.get("test", []))


def _samples(folder: Path, root: Path) -> list[Item]:
    items: list[Item] = []
    keys: dict[str, str] = {}
    for shard in part_shards(folder):
        where = shard.relative_to(root).as_posix()
        samples: dict[str, dict[str, str]] = {}
        for name in index(shard):
            stem, _, ending = posixpath.basename(name).partition(".")
            samples.setdefault(posixpath.join(posixpath.dirname(name), stem), {})[f".{ending.lower()}"] = name
        for key, files in samples.items():
            image = next((files[ending] for ending in SUFFIXES if ending in files), None)
            if image is None or ".cls" not in files:
                lacks = ".cls" if image else f"image ({' '.join(SUFFIXES)})"
                raise BenchError(
                    f"sample '{key}' of {shard} has no {lacks}; it has: {' '.join(sorted(files))}.", "Correct the shard."
                )
            if key in keys:
                raise BenchError(f"key '{key}' comes twice: in {keys[key]} and in {where}.", "Every sample has a key of its own.")
            keys[key] = where
            items.append(Item(f"{where}/{image}", _label(shard, index(shard)[files[".cls"]], key)))
    return items


def _label(shard: Path, place: Place, key: str) -> int:
    text = member(shard, place).decode("utf-8", "replace").strip()
    if not text.isdecimal() or len(text) > DIGITS:
        raise BenchError(
            f"the label of sample '{key}' of {shard} is '{text[:40]}', not a number.", "A .cls file holds a class number."
        )
    return int(text)


def imagenet_tars(images: Path) -> bool:
    """Whether ImageNet lies there as its archives."""
    return (images / TRAIN_TAR).is_file()


@cache
def imagenet_places(images: Path) -> dict[str, tuple[Path, Place]]:
    """ImageNet's images by the names that CoOp's folders give them, and the wnids of the validation images from the devkit."""
    train, val = images / TRAIN_TAR, images / VAL_TAR
    found: dict[str, tuple[Path, Place]] = {}
    with train.open("rb") as file:
        for name, place in index(train).items():
            wnid = name.removesuffix(".tar")
            inner = _members(Path(f"{train}/{name}"), file, place.start, place.size)
            found |= {f"train/{wnid}/{image}": (train, at) for image, at in inner.items()}
    wnids = validation_wnids(images / DEVKIT)
    members = index(val)
    if len(members) != len(wnids):
        raise BenchError(f"{val} holds {len(members)} images, {DEVKIT} labels {len(wnids)}.", FETCH)
    for name, wnid in zip(sorted(members), wnids, strict=True):
        found[f"val/{wnid}/{name}"] = (val, members[name])
    return found


def validation_wnids(devkit: Path) -> list[str]:
    """The wnid of each validation image in order, from ImageNet's development kit.

    Raises:
        BenchError: It is missing or something else.
    """
    try:
        with tarfile.open(devkit, "r:gz") as tar:
            data = {posixpath.basename(m.name): f.read() for m in tar if m.isfile() and (f := tar.extractfile(m))}
        synsets = scipy.io.loadmat(BytesIO(data["meta.mat"]), squeeze_me=True)["synsets"]
        wnid_of: Mapping[int, str] = {int(row[0]): str(row[1]) for row in synsets}
        return [wnid_of[int(line)] for line in data["ILSVRC2012_validation_ground_truth.txt"].split()]
    except (OSError, tarfile.TarError, EOFError, ValueError, KeyError) as error:
        raise BenchError(f"{devkit} is missing or not ImageNet's development kit ({error}).", FETCH) from error


def read_imagenet_tars(card: Card, images: Path) -> Split:
    """ImageNet from its archives, with the same names, labels and order as from CoOp's folders.

    Raises:
        BenchError: An archive is missing, damaged, or holds another number of classes than the card.
    """
    paths = sorted(imagenet_places(images))
    wnids = sorted({path.split("/")[1] for path in paths if path.startswith("train/")})
    if len(wnids) != len(card.classes):
        raise BenchError(f"{images / TRAIN_TAR} holds {len(wnids)} classes, the card {len(card.classes)}.", FETCH)
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    parts = {part: [Item(p, label_of[p.split("/")[1]]) for p in paths if p.startswith(f"{part}/")] for part in ("train", "val")}
    return Split(parts["train"], [], parts["val"])
