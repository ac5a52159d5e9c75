"""CIFAR's arrays and the labels that people gave, from batch files to a task."""

import pickle

import numpy as np
import pytest

from bench.backbones.description import describe
from bench.data.cards import card_paths, load_card
from bench.data.load import load_run
from bench.data.splits import Item
from bench.data.task import cached_human
from bench.errors import BenchError
from bench.prepare.dataset import prepare, register
from bench.prepare.images import image_reader
from bench.prepare.sources import read_source
from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec
from tests.prepare.test_sources import small


def batch(path, labels, seed=0, key="labels"):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    path.write_bytes(pickle.dumps({"batch_label": "x", key: list(labels), "data": data}, protocol=2))
    return data


def test_cifar_images_and_human_labels_come_into_a_task(tmp_path, home, monkeypatch):
    """From torchvision's batch files to noisy labels, in their order; another order is refused."""
    root, labels = (
        tmp_path / "cifar-10-batches-py",
        [list(np.random.default_rng(i).permutation(np.repeat(range(10), 2))) for i in range(6)],
    )
    labels = [[int(label) for label in part] for part in labels]
    drawn = [batch(root / f"data_batch_{i}", labels[i], i) for i in range(1, 6)]
    batch(root / "test_batch", labels[0])
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    card = load_card("cifar10n").model_copy(update={"counts": {}})
    split = read_source(card, root, root)
    assert [len(part) for part in split] == [100, 0, 20]
    assert split.train[25] == Item("train/00025", labels[2][5])
    image = image_reader("cifar", root)("train/00025")[0]
    assert np.array_equal(np.asarray(image), drawn[1][5].reshape(3, 32, 32).transpose(1, 2, 0))

    clean = np.array([label for part in labels[1:] for label in part])
    worse = np.where(np.arange(100) % 5 < 2, (clean + 3) % 10, clean)
    text = (card_paths()["cifar10n"]).read_text()
    text = text[: text.index("[human]")].replace("counts = { train = 50000, val = 0, test = 10000 }", "")
    mine = tmp_path / "mine.toml"
    mine.write_text(text.replace('"cifar10n"', '"mine"') + '[human]\nfile = "labels.pt"\n[human.sets]\nworse_label = 40.0\n')
    swapped = clean.copy()
    swapped[[0, 1]] = (swapped[[0, 1]] + 1) % 10
    (tmp_path / "labels.pt").write_bytes(pickle.dumps({"clean_label": swapped, "worse_label": worse}))
    with pytest.raises(BenchError, match="another order than the images: image 0"):
        prepare(load_card(str(mine)))
    (tmp_path / "labels.pt").write_bytes(pickle.dumps({"clean_label": clean, "worse_label": worse}))
    made = prepare(load_card(str(mine)))
    assert not cached_human(made.card).exists()  # nothing is kept before features are there
    register(made, describe("embedded"))
    assert cached_human(made.card).is_file()
    assert prepare(load_card(str(mine))).split == made.split
    other = np.where(np.arange(100) % 5 > 2, (clean + 3) % 10, clean)
    (tmp_path / "others.pt").write_bytes(pickle.dumps({"clean_label": clean, "worse_label": other}))
    with pytest.raises(BenchError, match="holds other human labels of 'mine'"):
        prepare(load_card(str(mine)), labels=tmp_path / "others.pt")

    from bench.data.features import FeatureWriter

    for part, items in made.split._asdict().items():
        if items:
            writer = FeatureWriter(made.folder / "tiny" / part, {"weights": "0"}, 4, 0)
            writer.append([item.path for item in items], np.random.default_rng(0).normal(size=(len(items), 1, 4)))
            writer.commit()

    def task(protocol, rate):
        return load_run(
            RunSpec(method=MethodSpec(name="x"), dataset=str(mine), task="", backbone="tiny", views=0, shots=5,
                    noise=NoiseSpec(protocol=protocol, rate=rate), seed=1, train=TrainSpec())
        )  # fmt: skip

    data = task("human:worse_label", 1.0)
    index = [int(path.split("/")[1]) for path in data.paths]
    assert np.array_equal(data.true, clean[index])
    assert np.array_equal(data.given, worse[index])
    assert data.realised_rate == np.mean(worse[index] != clean[index])
    assert data.val.shape == (0, 4)
    assert 0 < (task("human", 0.5).given != data.true).sum() <= 25
    with pytest.raises(BenchError, match=r"no labels for 'human:aggre_label'.* It has: worse_label"):
        task("human:aggre_label", 1.0)


def test_cifar_100(tmp_path):
    batch(tmp_path / "train", [0, 2, 1], key="fine_labels")
    batch(tmp_path / "test", [2, 1], key="fine_labels")
    split = read_source(small("cifar100n"), tmp_path, tmp_path)
    assert split.train == [Item("train/00000", 0), Item("train/00001", 2), Item("train/00002", 1)]
