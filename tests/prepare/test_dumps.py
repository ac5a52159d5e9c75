"""Feature dumps of other projects become caches, and wrong or dangerous ones do not."""

import os
import pickle

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bench.cli.features import app
from bench.data.load import load_run
from bench.data.splits import Item, Split, write_split
from bench.errors import BenchError
from bench.prepare.dumps import order_rows, read_dump
from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec

CLASSES = ["cat", "dog"]


@pytest.fixture
def dataset(home):
    """A card, its split and features of every part."""
    split = Split(*([Item(f"{part}/{i}.jpg", i % 2) for i in range(n)] for part, n in (("a", 12), ("b", 8), ("c", 6))))
    write_split(home / "split.json", split, CLASSES)
    (home / "pets2.toml").write_text(
        'name = "pets2"\ntitle = "t"\ntemplates = ["a {}."]\nclasses = ["cat", "dog"]\n'
        '[source]\nformat = "coop"\nimages = "x"\nsplit = "y.json"\n'
    )
    rng = np.random.default_rng(0)
    features = {part: rng.normal(size=(len(items), 16)).astype(np.float32) for part, items in split._asdict().items()}
    return home, split, features


def run_import(home, model, *words):
    words = [
        "import",
        home / "pets2.toml",
        "--split",
        home / "split.json",
        "--images",
        home,
        "--backbone",
        f"local-dir:{model}",
        *words,
    ]
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, result.output


def labels(items):
    return np.array([item.label for item in items])


def test_npz_and_pt_dumps_become_a_task(dataset, tiny_model):
    home, split, features = dataset
    np.savez(home / "train.npz", feature_list=features["train"], label_list=labels(split.train))
    torch.save({"features": torch.tensor(features["val"]).half(), "labels": torch.tensor(labels(split.val))}, home / "val.pt")
    order = np.random.default_rng(1).permutation(6)
    paths = np.array([item.path for item in split.test])
    np.savez(home / "test.npz", features=features["test"][order], labels=labels(split.test)[order], paths=paths[order])
    run_import(home, tiny_model, "--train", home / "train.npz", "--val", home / "val.pt", "--test", home / "test.npz")
    spec = RunSpec(method=MethodSpec(name="x"), dataset=str(home / "pets2.toml"), task="", backbone="tiny", views=0, shots=0,
                   noise=NoiseSpec(), seed=1, train=TrainSpec())  # fmt: skip
    data = load_run(spec)
    for cached, given in ((data.train[0], features["train"]), (data.test, features["test"])):
        assert np.allclose(cached, given / np.linalg.norm(given, axis=1, keepdims=True), atol=1e-3)
    with pytest.raises(BenchError, match="wants 4 augmented views"):
        load_run(spec.model_copy(update={"views": 4}))
    run_import(home, tiny_model, "--train", home / "train.npz", "--val", home / "val.pt", "--test", home / "test.npz")


def test_wrong_dumps_are_told_and_nothing_is_written(dataset, tiny_model):
    home, split, features = dataset
    for part, items in split._asdict().items():
        np.savez(home / f"{part}.npz", features=features[part], labels=labels(items))
    good = ["--train", home / "train.npz", "--val", home / "val.npz", "--test"]
    for content, message in (
        ({"features": features["test"], "labels": 1 - labels(split.test)}, "row 0 is of class 1, the split 0"),
        ({"features": features["test"][:5], "labels": labels(split.test)[:5]}, "has 5 rows, the test part 6 images"),
        ({"features": features["test"]}, r"has no labels \(it has: features\)"),
        ({"z": features["test"], "labels": labels(split.test)}, "has no features"),
        ({"features": features["test"][:, None], "labels": labels(split.test)}, r"not \[N, D\] and \[N\]"),
        ({"features": features["test"], "labels": labels(split.test), "paths": np.array(list("uvwxyz"))}, "lacks 6 images"),
        (
            {"features": features["test"], "labels": labels(split.test), "paths": np.array(["c/0.jpg", "./c/0.jpg", *"wxyz"])},
            "names 1 images twice, such as 'c/0.jpg'",
        ),
        ({"features": features["test"], "paths": np.array(["c/0.jpg"])}, r"features \[6, 16\] and paths \[1\], not"),
        ({"features": features["test"], "labels": np.append(labels(split.test), 0)}, r"features \[6, 16\] and labels \[7\], not"),
        ({"features": features["test"], "labels": labels(split.test) + 0.5}, "labels that are not whole numbers"),
        ({"features": features["test"], "labels": np.array(list("abcabc"))}, "labels that are not whole numbers"),
        ({"features": features["test"].astype(complex), "labels": labels(split.test)}, "features of type complex128"),
        ({"features": features["test"][:, :8], "labels": labels(split.test)}, "different lengths: train 16, val 16, test 8"),
        ({"features": features["test"] + np.nan, "labels": labels(split.test)}, "6 rows of features that are not finite"),
        ({"features": features["test"] * [[0], *[[1]] * 5], "labels": labels(split.test)}, "1 rows .* or zero: 'c/0.jpg' first"),
    ):
        np.savez(home / "bad.npz", **content)
        with pytest.raises(BenchError, match=message):
            run_import(home, tiny_model, *good, home / "bad.npz")
    with pytest.raises(BenchError, match=r"neither \.npz, \.pt nor \.parquet"):
        run_import(home, tiny_model, *good, home / "split.json")
    with pytest.raises(BenchError, match=r"8 val images.*--val"):
        run_import(home, tiny_model, "--train", home / "train.npz", "--test", home / "test.npz")
    assert not (home / "features" / "pets2" / "tiny").exists()
    assert not (home / "features" / "backbones").exists()


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def test_a_dump_that_wants_to_run_something_is_refused(tmp_path, monkeypatch):
    ran = []
    np.savez(tmp_path / "a.npz", features=np.array([Evil()], dtype=object))
    torch.save({"features": Evil()}, tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Evil()))
    monkeypatch.setattr(os, "system", ran.append)
    for name in ("a.npz", "b.pt", "c.pt"):
        with pytest.raises(BenchError, match="cannot be read safely"):
            read_dump(tmp_path / name)
    with pytest.raises(BenchError, match="does not exist"):
        read_dump(tmp_path / "d.npz")
    torch.save(torch.zeros(3), tmp_path / "e.pt")
    with pytest.raises(BenchError, match="holds a Tensor only"):
        read_dump(tmp_path / "e.pt")
    assert not ran


def test_a_pair_of_tensors_is_features_and_labels(tmp_path):
    torch.save((torch.ones(2, 3), torch.tensor([1, 0])), tmp_path / "a.pt")
    rows = order_rows(tmp_path / "a.pt", read_dump(tmp_path / "a.pt"), [Item("x", 1), Item("y", 0)], "train")
    assert np.array_equal(rows, np.ones((2, 3)))
