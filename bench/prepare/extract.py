"""Image features of a backbone: every training image in a clean and V augmented views, validation and test images in the clean one.

An image's views depend on its path and the view's seed only, so neither order, device nor workers change them. Features are
appended block by block, so a killed extraction goes on where it stopped.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from bench.backbones.description import Description
from bench.backbones.weights import create_model
from bench.data.features import FeatureWriter
from bench.engine.backbone import text_side
from bench.engine.plain import encode_prompts
from bench.errors import ENVIRONMENT, BenchError
from bench.prepare.images import Reader
from bench.seeds import derive

BLOCK = 1024  # images that are encoded between two writes, at most
BLOCK_SECONDS = 60.0  # and the time between them, at most
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
Transform = Callable[[Image.Image], torch.Tensor]


@dataclass(frozen=True)
class Encoder:
    """A backbone's image tower and what images go through before it."""

    backbone: Description
    model: Any
    clean: Transform
    augment: Transform
    preprocessing: str
    device: torch.device

    @property
    def dim(self) -> int:
        """D."""
        return int(self.encode(torch.zeros(1, 3, *self.size)).shape[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an input image."""
        size = self.model.visual.preprocess_cfg["size"]
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def encode(self, images: torch.Tensor) -> NDArray[np.float32]:
        """L2-normalised features [n, D] of preprocessed images [n, 3, H, W].

        Raises:
            BenchError: The device has too little memory for so many at once.
        """
        try:
            with torch.inference_mode():
                features: torch.Tensor = self.model.encode_image(images.to(self.device), normalize=True)
        except torch.OutOfMemoryError as error:
            message = f"{self.device} has too little memory for {len(images)} views at once."
            raise BenchError(message, "Give a smaller --batch-size.", ENVIRONMENT) from error
        rows: NDArray[np.float32] = features.float().cpu().numpy()
        return rows

    def inputs(self, views: int) -> dict[str, Any]:
        """All that features depend on: what a cache's fingerprint is a hash of."""
        return {
            **self.backbone.content,
            "open_clip": open_clip.__version__,
            "preprocessing": self.preprocessing,
            "views": views,
            "view_seeds": list(range(views)),
            "normalisation": "L2",
        }


def load_encoder(backbone: Description, device: str) -> Encoder:
    """The image tower of a backbone with CoOp's transforms.

    Views are random crops of 8 to 100 % of the area, bicubic, flipped half the time; the clean view is the short side resized
    and the centre cropped.

    Raises:
        BenchError: The weights cannot be loaded, or prompts cannot be tuned with the text side.
    """
    model = create_model(backbone).to(device)
    encode_prompts(text_side(backbone, model), ["a photo."])  # found out now, not after hours of encoding
    config = PreprocessCfg(**model.visual.preprocess_cfg)
    crop = transforms.RandomResizedCrop(config.size, scale=(0.08, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)
    normalise = transforms.Normalize(config.mean, config.std)
    augment = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise])
    text = f"clean: {config}; views: RandomResizedCrop(.08 to 1, bicubic), flip; EXIF orientation ignored"
    return Encoder(backbone, model, image_transform_v2(config, is_train=False), augment, text, torch.device(device))


class Views(Dataset[tuple[str, torch.Tensor | None, str]]):
    """Each image as (path, views [1 + V, 3, H, W] or None, its content, or why it cannot be read)."""

    def __init__(self, paths: list[str], read: Reader, encoder: Encoder, views: int) -> None:
        self.paths, self.read, self.views = paths, read, views
        self.clean, self.augment = encoder.clean, encoder.augment

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[str, torch.Tensor | None, str]:
        path = self.paths[index]
        try:
            image, content = self.read(path), self.read.content(path)
        except UNREADABLE as error:
            return path, None, str(error).splitlines()[0] if str(error) else type(error).__name__
        made = [self.clean(image)]
        with torch.random.fork_rng(devices=[]):
            for seed in range(self.views):
                torch.default_generator.manual_seed(derive(seed, "view", path))
                made.append(self.augment(image))
        return path, torch.stack(made), content


def encode_images(
    encoder: Encoder,
    folder: Path,
    paths: list[str],
    read: Reader,
    views: int,
    batch_size: int = 256,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    notice: Callable[[str], None] | None = None,
) -> dict[str, str]:
    """Encode the images that a cache does not hold yet, and add them to it.

    Args:
        encoder: The image tower.
        folder: The cache, `<features>/<backbone>/<part>`.
        paths: The images that must be in it.
        read: Opens one of them.
        views: V.
        batch_size: Views per forward pass.
        workers: Processes that decode images.
        progress: Called with the images encoded and the images to encode after every batch.
        notice: Called with a sentence where images have changed since they were encoded.

    Returns:
        Images that cannot be read, and why; they are not in the cache.

    Raises:
        BenchError: The cache was made from other inputs.
    """
    if not paths:
        return {}
    paths = sorted(paths)  # as archives hold them: they are read once, forward
    writer = FeatureWriter(folder, encoder.inputs(views), encoder.dim, views)
    held = writer.contents
    now = {path: read.content(path) for path in paths if held.get(path)}
    if changed := {path: content for path, content in now.items() if content != held[path]}:
        if notice:
            notice(f"{len(changed)} images have changed since they were encoded and are encoded anew: {', '.join(changed)}")
        writer.replace(changed)
        held = writer.contents
    todo = [path for path in paths if path not in held]
    loader = DataLoader(
        Views(todo, read, encoder, views),
        batch_size=max(1, batch_size // (1 + views)),
        num_workers=min(workers, len(todo)),
        collate_fn=list,
    )
    bad: dict[str, str] = {}
    done = 0
    names: list[str] = []
    rows: list[NDArray[np.float32]] = []
    contents: list[str] = []
    since = time.monotonic()
    for batch in loader:
        bad |= {path: why for path, made, why in batch if made is None}
        good = [(path, made, content) for path, made, content in batch if made is not None]
        if good:
            features = encoder.encode(torch.cat([made for _, made, _ in good]))
            names += [path for path, _, _ in good]
            contents += [content for _, _, content in good]
            rows.append(features.reshape(len(good), 1 + views, -1))
        done += len(batch)
        if progress:
            progress(done, len(todo))
        if len(names) >= BLOCK or (names and time.monotonic() - since > BLOCK_SECONDS):
            _write(writer, names, rows, contents)
            names, rows, contents, since = [], [], [], time.monotonic()
    if names:
        _write(writer, names, rows, contents)
    return bad


def _write(writer: FeatureWriter, names: list[str], rows: list[NDArray[np.float32]], contents: list[str]) -> None:
    writer.append(names, np.concatenate(rows), contents)
    writer.commit()
