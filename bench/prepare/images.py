"""Opening images as CoOp does: RGB, whatever the file's mode, and the EXIF orientation left alone."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.files import read_json, sha256
from bench.prepare.sources import cifar_batches

PREPARED = "prepared.json"  # beside a dataset's split
WHITE_IS_MOST = 1  # TIFF's PhotometricInterpretation: 0 is black and the largest number of the samples' bits white


def to_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB. Samples of 16 bits are scaled to 8, which Pillow would clip: PNG, PNM and TIFF say which is white.

    Raises:
        ValueError: Its samples are of another range than the format fixes: 32-bit or signed integers, floats.
    """
    if not image.mode.startswith("I") and image.mode != "F":
        return image.convert("RGB")
    white = image.format in {"PNG", "PPM"} or (
        image.format == "TIFF" and image.mode.startswith("I;16") and dict(image.tag_v2).get(262) == WHITE_IS_MOST  # type: ignore[attr-defined]  # of TIFF files only
    )
    if not white or image.mode == "F":
        raise ValueError(f"mode {image.mode} of {image.format}: which value is white is not known; save it with 8 bits per channel")
    samples = np.asarray(image).astype(np.int64)  # 0 to 65535
    return Image.fromarray(((samples * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")


@dataclass(frozen=True)
class FolderImages:
    """Images below a folder. Grayscale, CMYK and palette files become RGB; nothing is rotated.

    CoOp and open_clip ignore the EXIF orientation, so published numbers are those of unrotated images.
    """

    root: Path

    def __call__(self, path: str) -> Image.Image:
        """The image at a path relative to the root, decoded in full.

        Raises:
            OSError, SyntaxError, ValueError, Image.DecompressionBombError: It is missing, empty, truncated or no image.
        """
        with Image.open(self.root / path) as image:
            return to_rgb(image)

    def content(self, path: str) -> str:
        """Size and SHA-256 (16 digits) of a file: an image that has changed under its path has another."""
        file = self.root / path
        return f"{file.stat().st_size}-{sha256(file)[:16]}"

    def missing(self, paths: list[str]) -> list[str]:
        """Those of the paths that are no files."""
        return [path for path in paths if not (self.root / path).is_file()]


@dataclass(frozen=True)
class CifarImages:
    """CIFAR's arrays; image i of the training files is called "train/<i>"."""

    root: Path

    @cached_property
    def _arrays(self) -> dict[str, NDArray[np.uint8]]:
        return {part: np.concatenate([batch["data"] for batch in cifar_batches(self.root, part)]) for part in ("train", "test")}

    def __call__(self, path: str) -> Image.Image:
        """The 32 × 32 image of a name."""
        part, _, number = path.partition("/")
        return Image.fromarray(self._arrays[part][int(number)].reshape(3, 32, 32).transpose(1, 2, 0))

    def content(self, path: str) -> str:
        """Size and SHA-256 (16 digits) of an image's pixels."""
        pixels = self(path).tobytes()
        return f"{len(pixels)}-{hashlib.sha256(pixels).hexdigest()[:16]}"

    def missing(self, paths: list[str]) -> list[str]:
        """None: the arrays hold every image that the split names."""
        del paths
        return []


Reader = FolderImages | CifarImages


def image_reader(form: str, root: Path) -> Reader:
    """What opens the images of a card's `source.format` below an image root."""
    return CifarImages(root) if form == "cifar" else FolderImages(root)


def remembered(folder: Path) -> dict[str, Any]:
    """What extraction has noted of a dataset: {"images": root, "format", "skipped": {path: why}, "left_out": {path: why}}."""
    path = folder / PREPARED
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found
