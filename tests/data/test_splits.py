"""The few-shot sampler against the lists that CoOp's authors published, and what a split file must hold."""

import gzip
import json
from collections import Counter

import pytest

from bench.data.cards import load_card
from bench.data.splits import Item, Split, check_split, draw_few_shot, read_split, write_split
from bench.errors import BenchError

COOP = [
    "caltech101",
    "dtd",
    "eurosat",
    "fgvc_aircraft",
    "food101",
    "oxford_flowers",
    "oxford_pets",
    "stanford_cars",
    "sun397",
    "ucf101",
]
# Training and validation images per class, where the datasets' own counts say them.
SIZES = {
    "dtd": ([60] * 47, [24] * 47),
    "sun397": ([40] * 397, [10] * 397),
    "food101": ([500] * 101, [200] * 101),
    "eurosat": ([1500] * 3 + [1250] * 2 + [1000, 1250, 1500, 1250, 1500], [600] * 3 + [500] * 2 + [400, 500, 600, 500, 600]),
}


def published_list(folder, name, seed):
    with gzip.open(folder / "coop_fewshot" / f"{name}-shot_16-seed_{seed}.json.gz") as file:
        return json.load(file)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_published_shots_of_caltech_come_out_in_order(published, tmp_path, seed):
    path = tmp_path / "split.json"
    path.write_bytes(gzip.decompress((published / "split_zhou_Caltech101.json.gz").read_bytes()))
    card = load_card("caltech101")
    split = read_split(path, card.classes)
    check_split(split, len(card.classes), card.counts, path)
    expected = published_list(published, "caltech101", seed)
    for part, drawn in zip(("train", "val"), draw_few_shot(split, 16, seed), strict=True):
        assert [f"{card.source.images}/{item.path}" for item in drawn] == [row[0] for row in expected[part]]
        assert [item.label for item in drawn] == [row[1] for row in expected[part]]


@pytest.mark.parametrize("name", SIZES)
def test_published_shots_are_the_positions_that_the_sampler_draws(published, name):
    """Without the split file: three seeds' lists must agree on which image stands at which position of which class."""
    at: dict[tuple[int, int, str], str] = {}
    train, val = ([Item(str(i), label) for label, size in enumerate(sizes) for i in range(size)] for sizes in SIZES[name])
    agreed = 0
    for seed in (1, 2, 3):
        expected = published_list(published, name, seed)
        for part, drawn in zip(("train", "val"), draw_few_shot(Split(train, val, []), 16, seed), strict=True):
            assert len(drawn) == len(expected[part])
            for item, (path, label, _) in zip(drawn, expected[part], strict=True):
                key = (label, int(item.path), part)
                agreed += key in at
                assert at.setdefault(key, path) == path
    assert len(set(at.values())) == len(at)
    assert agreed > 5  # EuroSAT's large classes meet 6 times, the others hundreds of times


@pytest.mark.parametrize("name", COOP)
def test_cards_name_classes_and_folders_as_the_published_lists_do(published, name):
    card = load_card(name)
    for seed in (1, 2, 3):
        rows = published_list(published, name, seed)
        for part, most in (("train", 16), ("val", 4)):
            assert {(label, text) for _, label, text in rows[part]} == set(enumerate(card.classes))
            assert all(path.startswith(card.source.images + "/") for path, _, _ in rows[part])
            assert max(Counter(label for _, label, _ in rows[part]).values()) == most


def test_cards_hold_the_published_class_names(published):
    names = json.loads((published / "coop_classnames.json").read_text())
    for name, classes in names.items():
        assert list(load_card(name).classes) == classes


def test_imagenet_names_are_open_clips():
    from open_clip import IMAGENET_CLASSNAMES

    assert list(load_card("imagenet").classes) == list(IMAGENET_CLASSNAMES)
    assert load_card("webvision").classes == load_card("imagenet").classes[:50]


def tiny() -> Split:
    return Split(
        *([Item(f"{part}/{c}/{i}.png", c) for c in (1, 0, 2) for i in range(n)] for part, n in (("a", 5), ("b", 6), ("c", 2)))
    )


def test_a_class_with_fewer_images_gives_all_and_zero_shots_mean_all():
    split = tiny()
    train, val = draw_few_shot(split, 9, 1)
    assert train == split.train
    assert Counter(item.label for item in val) == {0: 4, 1: 4, 2: 4}
    assert draw_few_shot(split, 0, 1) == (split.train, split.val)
    assert Counter(item.label for item in draw_few_shot(split, 2, 1)[1]) == {0: 2, 1: 2, 2: 2}


def test_a_written_split_reads_back(tmp_path):
    write_split(tmp_path / "deep" / "split.json", tiny(), ["x", "y_z", "ü"])
    assert read_split(tmp_path / "deep" / "split.json", ["x", "y z", "ü"]) == tiny()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["split.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1, 2]", "not in CoOp's format"),
        ('{"train": [], "val": []}', "not in CoOp's format"),
        ('{"train": [["a", 0]], "val": [], "test": []}', "not in CoOp's format"),
        ('{"train": [["a", 0, "cat"]], "val": [], "test": []}', "1 classes .0 to 0., the card 2"),
        ('{"train": [["a", 0, "cat"], ["b", 1, "fox"]], "val": [], "test": []}', "calls class 1 'fox', the card 'dog'"),
    ],
)
def test_a_wrong_split_file_is_told(tmp_path, text, message):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(BenchError, match=message):
        read_split(path, ["cat", "dog"])


def test_a_missing_split_file_is_told(tmp_path):
    with pytest.raises(BenchError, match="does not exist"):
        read_split(tmp_path / "no.json")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split([Item("a", 0)], [], [Item("a", 0)]), "holds 'a' twice .train and test."),
        (Split([Item("a", 0), Item("a", 0)], [], []), "holds 'a' twice .train and train."),
        (Split([Item("../a", 0)], [], []), "leaves the image root"),
        (Split([Item("x/../../a", 0)], [], []), "leaves the image root"),
        (Split([Item("/etc/a", 0)], [], []), "leaves the image root"),
        (Split([Item("x\\..\\a", 0)], [], []), "leaves the image root"),
        (Split([Item("./a", 0)], [], []), "holds './a', which is another spelling of 'a'"),
        (Split([Item("x//a", 0)], [], []), "another spelling of 'x/a'"),
        (Split([Item("caf\udce9.png", 0)], [], []), "whose name is not UTF-8"),
        (Split([Item("a", 2)], [], []), "label 2; the card has 2 classes"),
        (Split([Item("a", -1)], [], []), "label -1"),
    ],
)
def test_a_split_with_a_bad_row_is_told(tmp_path, split, message):
    with pytest.raises(BenchError, match=message):
        check_split(split, 2, {}, tmp_path)


def test_a_split_of_another_size_is_told(tmp_path):
    with pytest.raises(BenchError, match="has 15 train images, the card says 14"):
        check_split(tiny(), 3, {"train": 14, "val": 18, "test": 6}, tmp_path)
    check_split(tiny(), 3, {"train": 15, "val": 18, "test": 6}, tmp_path)
