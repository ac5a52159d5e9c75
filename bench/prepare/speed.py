"""How fast images become features, against a plain loop of open_clip and torch's DataLoader on the same cores.

The plain loop decodes an image once for each of its views and sends float32 images from its workers to one tower, which has torch's
own number of threads (one per core), or one. All variants take turns, and their features must be the same.
"""

import os
import statistics
import tempfile
from collections.abc import Callable
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

from bench.backbones.description import EMBEDDED, Description, describe
from bench.errors import BenchError
from bench.perf import medians
from bench.prepare.extract import Encoder, encode, load_encoder
from bench.prepare.images import FolderImages
from bench.seeds import derive

SIZE = (500, 375)  # of the JPEGs, in pixels
PLAIN_BATCH = 256  # images
CLOSE = 1e-4  # how far two features may be apart: products of other shapes are added up in another order


class Case(NamedTuple):
    """A tower, and how many images and views of each it encodes in a round."""

    tower: str  # a model of open_clip, EMBEDDED, or NONE
    images: int
    views: int


NONE = "none"  # takes next to no time, as if a GPU had it: what is left is decoding and cropping at 224 pixels
CASES = (
    *(Case(NONE, images, views) for images, views in ((200, 0), (40, 8))),
    *(Case(EMBEDDED, images, views) for images, views in ((200, 0), (40, 8))),
    *(Case("ViT-B-32", images, views) for images, views in ((32, 0), (8, 3))),
)


class _Means(torch.nn.Module):
    """The mean colours of 8 × 8 squares as features."""

    def encode_image(self, images: torch.Tensor, *, normalize: bool) -> torch.Tensor:
        """[n, 3, H, W] to [n, 192]."""
        features = torch.nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)
        return torch.nn.functional.normalize(features, dim=-1) if normalize else features


def encoder_of(tower: str) -> Encoder:
    """The image tower of a case, with random weights but for the embedded one: speed does not depend on them."""
    if tower == EMBEDDED:
        return load_encoder(describe(EMBEDDED), "cpu")
    unnamed = Description(slug="random", model=tower, weights="", sha256="", quick_gelu=False, preprocess=None, context_length=77)
    model: Any = _Means() if tower == NONE else open_clip.create_model(tower, load_weights=False).eval()
    config = PreprocessCfg() if tower == NONE else PreprocessCfg(**model.visual.preprocess_cfg)
    return Encoder(unnamed, model, config, torch.device("cpu"))


def draw(folder: Path, number: int) -> list[str]:
    """Write JPEGs of coloured patches and grain, about as large in bytes as photographs of their size. Returns their names."""
    names = [f"{i:05d}.jpg" for i in range(number)]
    for i, name in enumerate(names):
        rng = np.random.default_rng(i)
        patches = Image.fromarray(rng.integers(0, 256, (25, 33, 3), dtype=np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
        grain = np.asarray(patches) + rng.normal(0, 6, (SIZE[1], SIZE[0], 3))
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / name, quality=90)
    return names


class PlainViews(Dataset[torch.Tensor]):
    """One view of each image, as everybody writes it."""

    def __init__(self, folder: Path, names: list[str], config: PreprocessCfg, view: int) -> None:
        self.folder, self.names, self.view = folder, names, view
        crop = transforms.RandomResizedCrop(config.size, scale=(0.08, 1.0), interpolation=transforms.InterpolationMode.BICUBIC)
        steps = [crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), transforms.Normalize(config.mean, config.std)]
        self.transform: Any = transforms.Compose(steps) if view else image_transform_v2(config, is_train=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> torch.Tensor:
        if self.view:
            torch.default_generator.manual_seed(derive(self.view - 1, "view", self.names[index]))  # ours, so that features compare
        with Image.open(self.folder / self.names[index]) as image:
            made: torch.Tensor = self.transform(image.convert("RGB"))
        return made


def plain(encoder: Encoder, folder: Path, names: list[str], views: int, workers: int, threads: int) -> NDArray[np.float32]:
    """Features [N, 1 + V, D] by the plain loop."""
    torch.set_num_threads(threads)
    found = []
    for view in range(1 + views):
        loader = DataLoader(PlainViews(folder, names, encoder.config, view), batch_size=PLAIN_BATCH, num_workers=workers)
        with torch.inference_mode():
            found.append(torch.cat([encoder.model.encode_image(images, normalize=True) for images in loader]))
    return torch.stack(found, dim=1).numpy()


def ours(encoder: Encoder, folder: Path, names: list[str], views: int, workers: int) -> NDArray[np.float32]:
    """The same as `bench features extract` makes them."""
    found: dict[str, torch.Tensor] = {}
    for batch in encode(encoder, names, FolderImages(folder), views, None, workers):
        found |= dict(zip(batch.contents, batch.views, strict=True))
    return torch.stack([found[name] for name in names]).numpy()


def _counted(work: Callable[[], object], spent: list[float]) -> Callable[[], None]:
    """Some work that notes the CPU seconds it takes, those of processes that it starts and ends among them."""

    def counted() -> None:
        before = sum(os.times()[:4])
        work()
        spent.append(sum(os.times()[:4]) - before)

    return counted


def time_extraction(case: Case, repeats: int, cores: int) -> dict[str, Any]:
    """Median images per second and CPU time of a case's variants, and how far their features are apart.

    Raises:
        BenchError: The features differ.
    """
    encoder, made, threads = encoder_of(case.tower), dict[str, NDArray[np.float32]](), torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = draw(folder, case.images)
        variants = {
            "ours": lambda: made.update(ours=ours(encoder, folder, names, case.views, cores)),
            "plain": lambda: made.update(plain=plain(encoder, folder, names, case.views, cores, cores)),
            "plain, one thread": lambda: made.update(plain=plain(encoder, folder, names, case.views, cores, 1)),
        }
        spent: dict[str, list[float]] = {name: [] for name in variants}
        taken = medians({name: _counted(work, spent[name]) for name, work in variants.items()}, repeats)
    torch.set_num_threads(threads)
    apart = float(np.abs(made["ours"] - made["plain"]).max())
    if apart > CLOSE:
        raise BenchError(f"features of {case.tower} differ by {apart:.1e} between the loops.", "This is a fault of the suite.")
    rates = {variant: case.images / seconds for variant, seconds in taken.items()}
    ratios = {f"ours / {variant}": rates["ours"] / rate for variant, rate in rates.items() if variant != "ours"}
    each = {name: 1000 * statistics.median(seconds[1:]) / case.images for name, seconds in spent.items()}  # without the warm-up
    found = {"images_per_second": rates, "cpu_milliseconds_per_image": each, "ratios": ratios, "apart": apart}
    return {**case._asdict(), "cores": cores, **found}
