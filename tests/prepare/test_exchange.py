"""Features from CLIP_benchmark and clip-retrieval in their own layouts, and out again as files that others read."""

import numpy as np
import pandas as pd
import pytest
import torch

from bench.data.splits import Item, Split, write_split
from bench.data.task import features_of, split_of
from bench.errors import BenchError
from tests.prepare.extracting import bench
from tests.prepare.test_dumps import dataset, labels, run_import  # noqa: F401 - a fixture

NAMES = ("train", "val", "test")


def normal(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_clip_benchmarks_two_files_a_part(dataset, tiny_model):  # noqa: F811 - the fixture
    home, split, features = dataset
    words = []
    for part in NAMES:  # as clip_benchmark.metrics.linear_probe saves them
        torch.save(torch.tensor(normal(features[part])).half(), home / f"features_{part}.pt")
        torch.save(torch.tensor(labels(getattr(split, part))), home / f"targets_{part}.pt")
        words += [f"--{part}", home / f"features_{part}.pt"]
    run_import(home, tiny_model, *words)
    card = str(home / "pets2.toml")
    for part in NAMES:
        found = features_of(card, "tiny", part).rows([item.path for item in getattr(split, part)])[:, 0]
        assert np.allclose(found, normal(features[part]), atol=1e-3)
    (home / "targets_test.pt").unlink()
    with pytest.raises(BenchError, match="holds a Tensor only"):
        run_import(home, tiny_model, *words)


def clip_retrieval(folder, rows, names, shards=2):
    """What clip-retrieval's NumpyWriter leaves: embeddings and their metadata by shard."""
    (folder / "img_emb").mkdir(parents=True)
    (folder / "metadata").mkdir()
    for shard in range(shards):
        here = np.arange(len(rows)) * shards // len(rows) == shard
        np.save(folder / "img_emb" / f"img_emb_{shard}.npy", rows[here].astype(np.float16))
        noted = pd.DataFrame({"image_path": np.array(names)[here], "caption": "x"})
        noted.to_parquet(folder / "metadata" / f"metadata_{shard}.parquet")
    return folder


def test_clip_retrievals_folder_names_its_images(dataset, tiny_model):  # noqa: F811 - the fixture
    home, split, features = dataset
    rows = np.concatenate([features[part] for part in NAMES])
    names = [f"/data/pets/{item.path}" for part in split for item in part]
    order = np.random.default_rng(0).permutation(len(rows))
    folder = clip_retrieval(home / "out", rows[order], [names[i] for i in order])
    run_import(home, tiny_model, *(word for part in NAMES for word in (f"--{part}", folder)))
    card = str(home / "pets2.toml")
    found = features_of(card, "tiny", "val").rows([item.path for item in split.val])[:, 0]
    assert np.allclose(found, normal(features["val"]), atol=2e-3)
    (folder / "metadata" / "metadata_1.parquet").unlink()
    with pytest.raises(BenchError, match=r"has no metadata/metadata_1\.parquet"):
        run_import(home, tiny_model, *(word for part in NAMES for word in (f"--{part}", folder)))
    with pytest.raises(BenchError, match=r"holds no img_emb/img_emb_\*\.npy"):
        run_import(home, tiny_model, "--train", home, "--val", home, "--test", home)


@pytest.mark.parametrize("form", ["npz", "parquet"])
def test_what_is_exported_is_read_by_others_and_again_by_us(home, tmp_path, tiny_model, form):
    bench("export", "digits", "--backbone", "embedded", "--out", tmp_path / "out", "--format", form)
    split = split_of("digits")
    cached = {part: features_of("digits", "embedded", part) for part in NAMES}
    if form == "npz":
        with np.load(tmp_path / "out" / "test.npz") as found:
            rows, given, paths, names = (found[key] for key in ("features", "labels", "paths", "classes"))
            assert len(names) == len({item.label for item in split.train})
    else:
        found = pd.read_parquet(tmp_path / "out" / "test.parquet")
        rows, given, paths = np.stack(found["features"]), found["label"].to_numpy(), found["path"].to_numpy()
    assert [Item(str(path), int(label)) for path, label in zip(paths, given, strict=True)] == split.test
    assert np.array_equal(rows, cached["test"].rows([item.path for item in split.test])[:, 0])

    card = tmp_path / "again.toml"
    names = [f"c{label}" for label in range(len({item.label for item in split.train}))]
    write_split(tmp_path / "split.json", Split(*split), names)
    card.write_text(
        f'name = "again"\ntitle = "t"\ntemplates = ["a {{}}."]\nclasses = {names}\n'
        '[source]\nformat = "coop"\nimages = "x"\nsplit = "y.json"\n'
    )
    words = [word for part in NAMES for word in (f"--{part}", tmp_path / "out" / f"{part}.{form}")]
    bench("import", card, "--split", tmp_path / "split.json", "--backbone", f"local-dir:{tiny_model}", *words)
    back = features_of(str(card), "tiny", "train")
    assert np.allclose(back.rows(back.paths)[:, 0], cached["train"].rows(back.paths)[:, 0], atol=1e-3)
