"""Opening images as CoOp does: RGB, whatever the file's mode, and the EXIF orientation left alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.cards import Card
from bench.prepare.sources import cifar_batches

Reader = Callable[[str], Image.Image]


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
            return image.convert("RGB")

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

    def missing(self, paths: list[str]) -> list[str]:
        """None: the arrays hold every image that the split names."""
        del paths
        return []


def image_reader(card: Card, root: Path) -> FolderImages | CifarImages:
    """What opens the images of a card below an image root."""
    return CifarImages(root) if card.source is not None and card.source.format == "cifar" else FolderImages(root)
