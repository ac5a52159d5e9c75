"""What tests share: one thread each, the folder of published lists, images drawn here, a tiny backbone.

One thread for every test and every worker that a test starts (`bench.devices.cores` reads Slurm's number): the tensors
are small, and a second thread waits whenever something else holds a core.
"""

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
    os.environ[name] = "1"

REPOSITORY = Path(__file__).resolve().parents[1]
gc.disable()  # imports make much and leave no garbage


def pytest_collection_finish() -> None:
    """What is imported by now stays: the collector need not look at it again."""
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session")
def published() -> Path:
    """CoOp's published lists and the CIFAR-N label files, which are not ours to ship."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} with the published lists is not here")
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty features folder, no data root, and nothing remembered of other ones."""
    from bench.data import load, task
    from bench.data.cards import load_card

    monkeypatch.setenv("BENCH_FEATURES", str(tmp_path / "features"))
    monkeypatch.delenv("BENCH_DATA", raising=False)

    def forget() -> None:
        cached_ones = (task.split_of, task.task_digest, task.features_of, task.human_labels, task._check_images)
        for cached in (load_card, load.features_of_test, *cached_ones):
            cached.cache_clear()

    forget()
    yield tmp_path
    forget()


def draw(path: Path, seed: int, mode: str = "RGB", size: tuple[int, int] = (40, 52)) -> Path:
    """A picture of coloured noise in a file of the suffix's format."""
    import numpy as np
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(0, 256, (5, 5, 3)), np.ones((9, 11, 1)))[: size[0], : size[1]].astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


@pytest.fixture
def class_folders(tmp_path) -> Path:
    """Three class folders of 24 small pictures."""
    for c, name in enumerate(("red_fox", "blue_whale", "green_frog")):
        for i in range(24):
            draw(tmp_path / "animals" / name / f"{i:02d}.png", 100 * c + i)
    return tmp_path / "animals"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """A CLIP of random weights, small enough to run anywhere, in open_clip's local-dir layout."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("models") / "tiny"
    folder.mkdir()
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    model = open_clip.CLIP(**config["model_cfg"])
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder
