"""Image features of a backbone: every training image in a clean and V augmented views, validation and test images in the clean one.

An image's views depend on its path and the view's seed only, so neither order, device nor workers change them. Features are
appended block by block, so a killed extraction goes on where it stopped.

An image is decoded once for all its views, which stay 8-bit until a batch of them enters the tower. Without a GPU the processes
that decode also run the tower, each on a core of its own: no core waits for another, and only features travel between them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

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
from bench.engine.plain import encode_prompts, whole_prompts
from bench.errors import ENVIRONMENT, BenchError
from bench.prepare.images import Reader
from bench.seeds import derive

BLOCK = 1024  # images that are encoded between two writes, at most
BLOCK_SECONDS = 60.0  # and the time between them, at most
CPU_BATCH, GPU_BATCH = 64, 256  # views that pass through the tower at once, by default
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
Transform = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Encoder:
    """A backbone's image tower and what images go through before it: CoOp's transforms."""

    backbone: Description
    model: Any
    config: PreprocessCfg
    device: torch.device

    @cached_property
    def clean(self) -> Transform:
        """The clean view: what open_clip does to test images (short side resized, centre cropped) before ToTensor and Normalize."""
        steps: Transform = transforms.Compose(image_transform_v2(self.config, is_train=False).transforms[:-2])
        return steps

    @cached_property
    def augment(self) -> Transform:
        """A view: a random crop of 8 to 100 % of the area, bicubic, flipped half the time."""
        crop = transforms.RandomResizedCrop(self.size, scale=(0.08, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)
        steps: Transform = transforms.Compose([crop, transforms.RandomHorizontalFlip()])
        return steps

    @cached_property
    def scale(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation [3, 1, 1] of each channel, of pixels from 0 to 1."""
        mean, std = (torch.tensor(values, device=self.device)[:, None, None] for values in (self.config.mean, self.config.std))
        return mean, std

    @property
    def dim(self) -> int:
        """D."""
        return int(self.encode(torch.zeros(1, *self.size, 3, dtype=torch.uint8)).shape[-1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of an input image."""
        size = self.config.size
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [n, H, W, 3] as the tower takes them, [n, 3, H, W]: bit by bit what ToTensor and Normalize make of an image."""
        images = pixels.to(self.device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean, std = self.scale
        return images.div_(255).sub_(mean).div_(std)

    def encode(self, pixels: torch.Tensor) -> NDArray[np.float32]:
        """L2-normalised features [n, D] of 8-bit images [n, H, W, 3].

        Raises:
            BenchError: The device has too little memory for so many at once.
        """
        try:
            with torch.inference_mode():
                features: torch.Tensor = self.model.encode_image(self.normalised(pixels), normalize=True)
        except torch.OutOfMemoryError as error:
            message = f"{self.device} has too little memory for {len(pixels)} views at once."
            raise BenchError(message, "Give a smaller --batch-size.", ENVIRONMENT) from error
        rows: NDArray[np.float32] = features.float().cpu().numpy()
        return rows

    def inputs(self, views: int) -> dict[str, Any]:
        """All that features depend on: what a cache's fingerprint is a hash of."""
        return {
            **self.backbone.content,
            "open_clip": open_clip.__version__,
            "preprocessing": f"clean: {self.config}; views: RandomResizedCrop(.08 to 1, bicubic), flip; EXIF orientation ignored",
            "views": views,
            "view_seeds": list(range(views)),
            "normalisation": "L2",
        }


def load_encoder(backbone: Description, device: str, prompts: Sequence[str] = ()) -> Encoder:
    """The image tower of a backbone with CoOp's transforms.

    Args:
        backbone: The backbone.
        device: Where it runs.
        prompts: What its text side must have tokens for.

    Raises:
        BenchError: The weights cannot be loaded, the image settings cannot be used, or prompts cannot be tuned with the text side.
    """
    model = create_model(backbone).to(device)
    text = text_side(backbone, model)  # what is wrong with it is found out now, not after hours of encoding
    whole_prompts(text, prompts)
    encode_prompts(text, ["a photo."])
    try:
        made = Encoder(backbone, model, PreprocessCfg(**model.visual.preprocess_cfg), torch.device(device))
        sound = np.isfinite(made.encode(torch.zeros(1, *made.size, 3, dtype=torch.uint8))).all()
    except (TypeError, ValueError, RuntimeError) as error:  # a folder's configuration can say anything
        raise BenchError(
            f"the image settings of '{backbone.slug}' cannot be used ({error}).", "Correct its configuration."
        ) from error
    if not sound:
        raise BenchError(f"the features that '{backbone.slug}' gives are not finite.", "Check its weights, mean and std.")
    return made


class Made(NamedTuple):
    """What became of an image."""

    path: str
    views: NDArray[np.uint8] | None  # [1 + V, H, W, 3], the clean one first; None where it cannot be read
    told: str  # its content, or why it cannot be read


class Views(Dataset[Made]):
    """Images by number, decoded and cropped."""

    def __init__(self, paths: list[str], read: Reader, encoder: Encoder, views: int) -> None:
        self.paths, self.read, self.views = paths, read, views
        self.clean, self.augment = encoder.clean, encoder.augment

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Made:
        path = self.paths[index]
        try:
            image, content = self.read(path)
        except UNREADABLE as error:
            return Made(path, None, str(error).splitlines()[0] if str(error) else type(error).__name__)
        made = [self.clean(image)]
        with torch.random.fork_rng(devices=[]):
            for seed in range(self.views):
                torch.default_generator.manual_seed(derive(seed, "view", path))
                made.append(self.augment(image))
        return Made(path, np.stack([np.asarray(view) for view in made]), content)


class Batch(NamedTuple):
    """Images that passed through the decoding together."""

    contents: dict[str, str]  # by path
    bad: dict[str, str]  # why an image cannot be read
    views: torch.Tensor  # of the others, pixels [n, 1 + V, H, W, 3]; once encoded, features [n, 1 + V, D]


def _gathered(made: list[Made]) -> Batch:
    contents, bad = ({one.path: one.told for one in made if (one.views is None) is lost} for lost in (False, True))
    views = [one.views for one in made if one.views is not None]
    return Batch(contents, bad, torch.from_numpy(np.stack(views)) if views else torch.empty(0))


def _encoded(encoder: Encoder, batch: Batch) -> Batch:
    if not batch.contents:
        return batch
    features = torch.from_numpy(encoder.encode(batch.views.flatten(0, 1)))
    return batch._replace(views=features.unflatten(0, batch.views.shape[:2]))


def _both(encoder: Encoder, made: list[Made]) -> Batch:
    return _encoded(encoder, _gathered(made))


def stretches(number: int, size: int, workers: int) -> list[list[int]]:
    """Batches of images 0 to `number` - 1, so that each of DataLoader's workers, which take turns, reads a stretch of its own.

    A shard of a table can only be read forward; with batches in their own order every worker would read all of every shard.
    """
    batches = [list(range(start, min(start + size, number))) for start in range(0, number, size)]
    own = [[batches[i] for i in some] for some in np.array_split(np.arange(len(batches)), workers)]
    return [batch for turn in zip_longest(*own) for batch in turn if batch is not None]


def encode(encoder: Encoder, paths: list[str], read: Reader, views: int, batch_size: int | None, workers: int) -> Iterator[Batch]:
    """Decode and encode images, batch by batch.

    Args:
        encoder: The image tower.
        paths: The images.
        read: Opens one of them.
        views: V.
        batch_size: Views per forward pass; None: 64, on a GPU 256.
        workers: Processes that decode images, and run the tower where it runs on the CPU. 0: all is done here.

    Raises:
        BenchError: A process was killed, which is what happens where memory is short.
    """
    here = encoder.device.type == "cpu"
    images = max(1, (batch_size or (CPU_BATCH if here else GPU_BATCH)) // (1 + views))
    loader = DataLoader(
        Views(paths, read, encoder, views),
        batch_sampler=stretches(len(paths), images, max(1, workers)),
        num_workers=min(workers, len(paths)),
        collate_fn=partial(_both, encoder) if here else _gathered,
    )
    try:
        yield from loader if here else map(partial(_encoded, encoder), loader)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        hint = "Where memory is short: fewer --workers or a smaller --batch-size. What is encoded is kept: start again."
        raise BenchError("a process that decoded images was killed.", hint, ENVIRONMENT) from error


def encode_images(
    encoder: Encoder,
    folder: Path,
    paths: list[str],
    read: Reader,
    views: int,
    batch_size: int | None = None,
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
        workers: Processes that decode images, and run the tower where it runs on the CPU.
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
    todo = [path for path in paths if path not in held or path in changed]
    bad: dict[str, str] = {}
    contents: dict[str, str] = {}  # with `rows`: what is not written yet
    rows: list[NDArray[np.float32]] = []
    done, since = 0, time.monotonic()
    for made in encode(encoder, todo, read, views, batch_size, workers):
        bad |= made.bad
        contents |= made.contents
        rows += [made.views.numpy()] if made.contents else []
        done += len(made.contents) + len(made.bad)
        if progress:
            progress(done, len(todo))
        last = done == len(todo)
        if contents and (last or len(contents) >= BLOCK or time.monotonic() - since > BLOCK_SECONDS):
            writer.append(list(contents), np.concatenate(rows), list(contents.values()))
            writer.commit()
            contents, rows, since = {}, [], time.monotonic()
    return bad
