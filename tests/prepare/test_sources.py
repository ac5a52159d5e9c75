"""Every dataset's own layout, drawn small: what the readers make of it, and what they say of a wrong one."""

import json

import numpy as np
import pytest
import scipy.io

from bench.data.cards import card_paths, load_card
from bench.data.splits import Item
from bench.errors import BenchError
from bench.prepare.dataset import locate
from bench.prepare.sources import READERS, read_source


def small(name, classes=3, **counts):
    """A shipped card cut to its first classes."""
    card = load_card(name)
    return card.model_copy(update={"classes": card.classes[:classes], "counts": counts})


def touch(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def test_every_card_with_a_source_has_a_reader_counts_and_says_how_to_get_it():
    cards = [load_card(name) for name in card_paths()]
    real = [card for card in cards if card.source]
    assert len(real) >= 21
    for card in real:
        assert card.source.format in READERS
        assert card.counts
        assert card.how_to_get
        assert card.licence
        assert card.citation
        assert all("{}" in template for template in card.templates)
        assert not card.split
        assert not card.features
    assert {"caltech101", "imagenet", "cifar10n", "webvision"} <= {card.name for card in real}


def test_coop(tmp_path):
    parts = {p: [[f"{n}/{i}.jpg", label, n] for label, n in enumerate(("face", "leopard", "motorbike")) for i in r]
             for p, r in (("train", (0, 1)), ("val", (2,)), ("test", (3, 4)))}  # fmt: skip
    write(tmp_path / "caltech-101" / "split_zhou_Caltech101.json", json.dumps(parts))
    (tmp_path / "caltech-101" / "101_ObjectCategories").mkdir()
    card = small("caltech101", train=6, val=3, test=6)
    split = read_source(card, tmp_path, tmp_path / "caltech-101" / "split_zhou_Caltech101.json")
    assert split.test[-1] == Item("motorbike/4.jpg", 2)
    with pytest.raises(BenchError, match="has 6 train images, the card says 4128"):
        read_source(small("caltech101", train=4128, val=3, test=6), tmp_path, tmp_path / "caltech-101/split_zhou_Caltech101.json")
    with pytest.raises(BenchError, match=r"has 3 classes .* the card 100"):
        read_source(load_card("caltech101"), tmp_path, tmp_path / "caltech-101/split_zhou_Caltech101.json")


def test_aircraft(tmp_path):
    card = small("fgvc_aircraft")
    write(tmp_path / "variants.txt", *card.classes)
    for part in ("train", "val", "test"):
        write(tmp_path / f"images_variant_{part}.txt", f"0034309 {card.classes[1]}", f"1025794 {card.classes[2]}")
    write(tmp_path / "images_variant_val.txt", f"0000001 {card.classes[0]}")
    write(tmp_path / "images_variant_test.txt", f"0000002 {card.classes[0]}")
    split = read_source(card, tmp_path / "images", tmp_path)
    assert split.train == [Item("0034309.jpg", 1), Item("1025794.jpg", 2)]
    write(tmp_path / "images_variant_val.txt", "0000001 Boeing 7007")
    with pytest.raises(BenchError, match="not a variant"):
        read_source(card, tmp_path / "images", tmp_path)
    (tmp_path / "images_variant_val.txt").unlink()
    with pytest.raises(BenchError, match=r"images_variant_val\.txt does not exist"):
        read_source(card, tmp_path / "images", tmp_path)
    write(tmp_path / "variants.txt", "other")
    with pytest.raises(BenchError, match="lists other classes than the card"):
        read_source(card, tmp_path / "images", tmp_path)


def test_imagenet(tmp_path):
    write(tmp_path / "classnames.txt", "n01443537 goldfish", "n01440764 tench", "n01484850 great white shark")
    for wnid in ("n01440764", "n01443537", "n01484850"):
        touch(
            tmp_path / "images",
            f"train/{wnid}/{wnid}_7.JPEG",
            f"train/{wnid}/{wnid}_10.JPEG",
            f"val/{wnid}/ILSVRC2012_val_{wnid}.JPEG",
        )
    split = read_source(small("imagenet"), tmp_path / "images", tmp_path / "classnames.txt")
    assert [item.label for item in split.train] == [0, 0, 1, 1, 2, 2]
    assert split.train[2].path == "train/n01443537/n01443537_10.JPEG"
    assert split.val == []
    assert len(split.test) == 3
    with pytest.raises(BenchError, match="one folder for each of the 4 wnids"):
        read_source(small("imagenet", 4), tmp_path / "images", tmp_path / "classnames.txt")


def test_lists(tmp_path):
    card = small("dtd")
    card = card.model_copy(update={"source": card.source.model_copy(update={"format": "lists"})})
    write(tmp_path / "train.txt", "a b/1.jpg 0", "c/2.jpg 2")
    write(tmp_path / "test.txt", "d/3.jpg 1")
    split = read_source(card, tmp_path, tmp_path)
    assert split == ([Item("a b/1.jpg", 0), Item("c/2.jpg", 2)], [], [Item("d/3.jpg", 1)])
    write(tmp_path / "val.txt", "e/4.jpg 1")
    assert read_source(card, tmp_path, tmp_path).val == [Item("e/4.jpg", 1)]
    write(tmp_path / "val.txt", "e/4.jpg one")
    with pytest.raises(BenchError, match=r"line 1 of .*val\.txt is not '<path> <label>'"):
        read_source(card, tmp_path, tmp_path)
    for spelling in ("c/2.jpg", "./c/2.jpg", "c//2.jpg", "x/../c/2.jpg"):
        write(tmp_path / "val.txt", f"{spelling} 2")
        with pytest.raises(BenchError, match=r"holds 'c/2\.jpg' twice .train and val"):
            read_source(card, tmp_path, tmp_path)
    write(tmp_path / "val.txt", "./e/4.jpg 1")
    assert read_source(card, tmp_path, tmp_path).val == [Item("e/4.jpg", 1)]
    (tmp_path / "val.txt").write_bytes("é/4.jpg 1\n".encode("utf-16"))
    assert read_source(card, tmp_path, tmp_path).val == [Item("é/4.jpg", 1)]
    (tmp_path / "val.txt").write_bytes("é/4.jpg 1\n".encode("latin-1"))
    with pytest.raises(BenchError, match=r"line 1 of list .*val\.txt is not UTF-8"):
        read_source(card, tmp_path, tmp_path)
    write(tmp_path / "val.txt", "c/2.jpg 2")
    with pytest.raises(BenchError, match="twice"):
        read_source(card, tmp_path, tmp_path)


def test_class_folders_are_parted_in_coops_shares(tmp_path):
    card = small("dtd")
    card = card.model_copy(update={"source": card.source.model_copy(update={"format": "folders"})})
    for name in card.classes:
        touch(tmp_path, *(f"{name}/{i}.JPG" for i in range(20)), f"{name}/notes.txt", f"{name}/.hidden.jpg")
    split = read_source(card, tmp_path, tmp_path)
    assert [len(part) for part in split] == [30, 12, 18]
    assert all(item.path.startswith(card.classes[item.label] + "/") for part in split for item in part)
    assert read_source(card, tmp_path, tmp_path) == split
    (tmp_path / "extra").mkdir()
    with pytest.raises(BenchError, match="'extra' is in one only"):
        read_source(card, tmp_path, tmp_path)
    (tmp_path / "extra").rmdir()
    for i in range(2, 20):
        (tmp_path / card.classes[0] / f"{i}.JPG").unlink()
    with pytest.raises(BenchError, match="a class of 2 images"):
        read_source(card, tmp_path, tmp_path)


def test_animal10n(tmp_path):
    touch(tmp_path, "training/0_12.jpg", "training/2_7.jpg", "testing/1_9.jpg")
    split = read_source(small("animal10n"), tmp_path, tmp_path)
    assert split == ([Item("training/0_12.jpg", 0), Item("training/2_7.jpg", 2)], [], [Item("testing/1_9.jpg", 1)])
    touch(tmp_path, "training/cat.jpg")
    with pytest.raises(BenchError, match="is not called '<label>_<number>"):
        read_source(small("animal10n"), tmp_path, tmp_path)


def test_food101n(tmp_path):
    write(tmp_path / "Food-101N_release" / "meta" / "imagelist.tsv", "class_name/key", "baklava/ab12.jpg", "apple_pie/cd.jpg")
    write(tmp_path / "food-101" / "meta" / "test.txt", "apple_pie/1011328", "baby_back_ribs/5")
    split = read_source(small("food101n"), tmp_path, tmp_path / "Food-101N_release" / "meta")
    assert split.train == [
        Item("Food-101N_release/images/baklava/ab12.jpg", 2),
        Item("Food-101N_release/images/apple_pie/cd.jpg", 0),
    ]
    assert split.test == [Item("food-101/images/apple_pie/1011328.jpg", 0), Item("food-101/images/baby_back_ribs/5.jpg", 1)]
    write(tmp_path / "food-101" / "meta" / "test.txt", "sushi/1")
    with pytest.raises(BenchError, match="'sushi/1' in the lists"):
        read_source(small("food101n"), tmp_path, tmp_path / "Food-101N_release" / "meta")


def test_clothing1m(tmp_path):
    write(tmp_path / "noisy_train_key_list.txt", "images/0/59/1,2.jpg", "images/1/00/3,4.jpg")
    write(tmp_path / "noisy_label_kv.txt", "images/1/00/3,4.jpg 2", "images/0/59/1,2.jpg 0", "images/unused.jpg 1")
    write(tmp_path / "clean_val_key_list.txt", "images/9/v.jpg")
    write(tmp_path / "clean_test_key_list.txt", "images/9/t.jpg")
    write(tmp_path / "clean_label_kv.txt", "images/9/v.jpg 1", "images/9/t.jpg 2")
    split = read_source(small("clothing1m"), tmp_path, tmp_path)
    assert split.train == [Item("images/0/59/1,2.jpg", 0), Item("images/1/00/3,4.jpg", 2)]
    assert split.val == [Item("images/9/v.jpg", 1)]
    write(tmp_path / "clean_test_key_list.txt", "images/9/other.jpg")
    with pytest.raises(BenchError, match="which has no label"):
        read_source(small("clothing1m"), tmp_path, tmp_path)


def test_webvision_mini_takes_the_first_fifty_classes_of_google(tmp_path):
    write(tmp_path / "train_filelist_google.txt", "google/q0001/a.jpg 0", "google/q0050/b.jpg 49", "google/q0051/c.jpg 50")
    write(tmp_path / "val_filelist.txt", "val000001.jpg 20", "val000002.jpg 999")
    split = read_source(load_card("webvision").model_copy(update={"counts": {}}), tmp_path, tmp_path)
    assert split == (
        [Item("google/q0001/a.jpg", 0), Item("google/q0050/b.jpg", 49)],
        [],
        [Item("val_images_256/val000001.jpg", 20)],
    )


def test_torchvisions_own_splits(tmp_path, monkeypatch):
    dtd = tmp_path / "dtd" / "dtd"
    for part, number in (("train", 1), ("val", 2), ("test", 3)):
        write(dtd / "labels" / f"{part}1.txt", *(f"{name}/{name}_{number}.jpg" for name in ("banded", "blotchy", "braided")))
    touch(dtd / "images", *(f"{name}/{name}_{i}.jpg" for name in ("banded", "blotchy", "braided") for i in (1, 2, 3)))
    split = read_source(small("dtd_torchvision"), tmp_path, tmp_path / "DTD")
    assert split.val == [Item(f"dtd/dtd/images/{n}/{n}_2.jpg", i) for i, n in enumerate(("banded", "blotchy", "braided"))]

    flowers = tmp_path / "flowers-102"
    touch(flowers, *(f"jpg/image_{i:05d}.jpg" for i in range(1, 7)))
    scipy.io.savemat(flowers / "imagelabels.mat", {"labels": np.array([[2, 1, 3, 3, 1, 2]], dtype=np.uint8)})
    scipy.io.savemat(flowers / "setid.mat", {"trnid": [[1, 2]], "valid": [[3, 4]], "tstid": [[5, 6]]})
    touch(flowers, "102flowers.tgz")
    # torchvision wants the real label files' checksums, which drawn ones cannot have
    monkeypatch.setattr("torchvision.datasets.flowers102.check_integrity", lambda *_: True)
    split = read_source(small("oxford_flowers_torchvision"), tmp_path, tmp_path / "Flowers102")
    assert split.train == [Item("flowers-102/jpg/image_00001.jpg", 1), Item("flowers-102/jpg/image_00002.jpg", 0)]

    food = tmp_path / "food-101"
    touch(food, "images/apple_pie/1.jpg")
    for part, number in (("train", "1"), ("test", "2")):
        write(food / "meta" / f"{part}.json", json.dumps({name: [f"{name}/{number}"] for name in load_card("food101").classes[:3]}))
    split = read_source(small("food101_torchvision"), tmp_path, tmp_path / "Food101")
    assert split.test[0] == Item("food-101/images/apple_pie/2.jpg", 0)
    assert split.val == []

    pets = tmp_path / "oxford-iiit-pet"
    touch(pets, "images/Abyssinian_1.jpg")
    write(
        pets / "annotations" / "trainval.txt", "Abyssinian_1 1 1 1", "american_bulldog_2 2 2 1", "american_pit_bull_terrier_3 3 2 2"
    )
    write(pets / "annotations" / "test.txt", "american_bulldog_9 2 2 1")
    split = read_source(small("oxford_pets_torchvision"), tmp_path, tmp_path / "OxfordIIITPet")
    assert split.train[1] == Item("oxford-iiit-pet/images/american_bulldog_2.jpg", 1)

    with pytest.raises(BenchError, match="torchvision does not find DTD"):
        read_source(small("dtd_torchvision"), tmp_path / "nowhere", tmp_path / "DTD")


def test_images_and_split_are_found_below_the_data_root(tmp_path, home, monkeypatch):
    card = load_card("caltech101")
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(BenchError, match=r"image folder .*caltech-101/101_ObjectCategories .* does not exist.*data\.caltech"):
        locate(card, None, None)
    images = tmp_path / "caltech-101" / "101_ObjectCategories"
    images.mkdir(parents=True)
    with pytest.raises(BenchError, match=r"the split .*split_zhou_Caltech101\.json of 'caltech101' does not exist"):
        locate(card, None, None)
    touch(tmp_path, "caltech-101/split_zhou_Caltech101.json", "other.json")
    assert locate(card, None, None) == (images, tmp_path / "caltech-101" / "split_zhou_Caltech101.json")
    assert locate(card, tmp_path, tmp_path / "other.json") == (tmp_path, tmp_path / "other.json")
