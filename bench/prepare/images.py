"""Opening images as CoOp does: RGB, whatever the file's mode, and the EXIF orientation left alone."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench.files import read_json
from bench.prepare.archives import imagenet_places, imagenet_tars, in_tar, member
from bench.prepare.sources import cifar_batches
from bench.prepare.tables import cell

PREPARED = "prepared.json"  # beside a dataset's split
BITS, WHITE_IS_MOST = 258, (262, 1)  # TIFF's tags: BitsPerSample; PhotometricInterpretation, where 0 is black and the most white


def content_of(data: bytes) -> str:
    """Size and SHA-256 (16 digits) of some bytes."""
    return f"{len(data)}-{hashlib.sha256(data).hexdigest()[:16]}"


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB. Samples of more than 8 bits are scaled, not clipped as by Pillow: PNG, PNM, TIFF say what is white.

    Raises:
        ValueError: Its samples are of another range than the format fixes: 32-bit or signed integers, floats.
    """
    if not image.mode.startswith("I") and image.mode != "F":
        opaque = image.convert("RGBA") if image.mode == "P" else image  # Pillow warns of a palette's transparency, and drops it too
        return opaque.convert("RGB")
    white = _white(image)
    if not white or image.mode == "F":
        raise ValueError(f"mode {image.mode} of {image.format}: which value is white is not known; save it with 8 bits per channel")
    samples = np.asarray(image).astype(np.int64)  # 0 to `white`
    return Image.fromarray(((samples * 255 + white // 2) // white).astype(np.uint8)).convert("RGB")


def _white(image: Image.Image) -> int:
    """The sample of white as the format fixes it; 0 where it does not."""
    if image.format in {"PNG", "PPM"}:
        return 65535  # Pillow scales other depths to it
    tags = dict(getattr(image, "tag_v2", {})) if image.format == "TIFF" and image.mode.startswith("I;16") else {}
    return 2 ** int(tags[BITS][0]) - 1 if WHITE_IS_MOST in tags.items() and BITS in tags else 0


@dataclass(frozen=True)
class Images(ABC):
    """Images of a source by path. Grayscale, CMYK and palette files become RGB; nothing is rotated.

    CoOp and open_clip ignore the EXIF orientation, so published numbers are those of unrotated images.
    """

    root: Path

    @abstractmethod
    def data(self, path: str) -> bytes:
        """The encoded image of a path of the split."""

    @abstractmethod
    def has(self, path: str) -> bool:
        """Whether there is one, as far as can be told without reading it."""

    def __call__(self, path: str) -> tuple[Image.Image, str]:
        """The image of a path, decoded in full, and its content.

        Raises:
            OSError, SyntaxError, ValueError, Image.DecompressionBombError: It is missing, empty, truncated or no image.
        """
        data = self.data(path)
        try:
            with Image.open(BytesIO(data)) as image:
                return to_rgb(image), content_of(data)
        except UnidentifiedImageError as error:  # its own words tell an address in memory
            raise ValueError("no image in a format that Pillow knows" if data else "the file is empty") from error

    def content(self, path: str) -> str:
        """Size and SHA-256 (16 digits) of a file: an image that has changed under its path, or was damaged, has another."""
        try:
            return content_of(self.data(path))
        except (OSError, ValueError) as error:
            return f"cannot be read: {error}"

    def missing(self, paths: list[str]) -> list[str]:
        """Those of the paths that are not there."""
        return [path for path in paths if not self.has(path)]


class FolderImages(Images):
    """Files below a folder."""

    def data(self, path: str) -> bytes:
        """The file."""
        return (self.root / path).read_bytes()

    def has(self, path: str) -> bool:
        """Whether it is a file."""
        return (self.root / path).is_file()


class TarImages(Images):
    """Members of tar shards, `<shard>.tar/<member>`."""

    def data(self, path: str) -> bytes:
        """The member."""
        archive, place = in_tar(self.root, path)
        if place is None:
            raise FileNotFoundError(path)
        return member(archive, place)

    def has(self, path: str) -> bool:
        """Whether the archive lists it."""
        return in_tar(self.root, path)[1] is not None


class ImagenetTars(Images):
    """Members of ImageNet's archives, called as CoOp's folders call them."""

    def data(self, path: str) -> bytes:
        """The member."""
        return member(*imagenet_places(self.root)[path])

    def has(self, path: str) -> bool:
        """Whether an archive lists it."""
        return path in imagenet_places(self.root)


class TableImages(Images):
    """Rows of parquet or Arrow shards, `<shard>/<row>`."""

    def data(self, path: str) -> bytes:
        """The row's image."""
        return cell(self.root, path)

    def has(self, path: str) -> bool:
        """Whether its shard is there."""
        return (self.root / path).parent.is_file()


@dataclass(frozen=True)
class CifarImages:
    """CIFAR's arrays; image i of the training files is called "train/<i>"."""

    root: Path

    @cached_property
    def _arrays(self) -> dict[str, NDArray[np.uint8]]:
        return {part: np.concatenate([batch["data"] for batch in cifar_batches(self.root, part)]) for part in ("train", "test")}

    def __call__(self, path: str) -> tuple[Image.Image, str]:
        """The 32 × 32 image of a name, and its content."""
        part, _, number = path.partition("/")
        pixels = np.ascontiguousarray(self._arrays[part][int(number)].reshape(3, 32, 32).transpose(1, 2, 0))
        return Image.fromarray(pixels), content_of(pixels.tobytes())

    def content(self, path: str) -> str:
        """Size and SHA-256 (16 digits) of an image's pixels."""
        return self(path)[1]

    def missing(self, paths: list[str]) -> list[str]:
        """None: the arrays hold every image that the split names."""
        del paths
        return []


Reader = Images | CifarImages
READERS: dict[str, type[Reader]] = {"cifar": CifarImages, "webdataset": TarImages, "huggingface": TableImages}


def image_reader(form: str, root: Path) -> Reader:
    """What opens the images of a card's `source.format` below an image root."""
    return ImagenetTars(root) if form == "imagenet" and imagenet_tars(root) else READERS.get(form, FolderImages)(root)


def remembered(folder: Path) -> dict[str, Any]:
    """What extraction has noted of a dataset: {"images": root, "format", "skipped": {path: why}, "left_out": {path: why}}."""
    path = folder / PREPARED
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found
