"""Images in tar files and tables: the same features as from plain files, one sentence for each damage, nothing half-registered."""

import gzip
import io
import shutil
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io

from bench.data.cards import card_paths, load_card
from bench.data.splits import Item
from bench.data.task import split_of
from bench.errors import BenchError
from bench.prepare.images import image_reader
from bench.prepare.sources import read_source
from bench.prepare.tables import shards_of
from tests.prepare.drawing import (
    CLASSES,
    draw_parquet,
    draw_saved,
    draw_webdataset,
    encoded,
    sample,
    seed,
    table,
    write_stream,
    write_tar,
)
from tests.prepare.extracting import bench, extract, features
from tests.prepare.test_sources import small, write

SHOTS = ("--shots", 0, "--seeds", 1)
DRAW = {"webdataset": draw_webdataset, "parquet": draw_parquet, "saved": draw_saved}


@pytest.fixture
def plain(home, tiny_model):
    """Features of the same pictures from PNG files in class folders, by part and number."""
    for part, n in (("train", 12), ("test", 6)):
        for i in range(n):
            path = home / "plain" / part / CLASSES[i % 3] / f"{i:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(seed(part, i)))
    extract(home / "plain", tiny_model, *SHOTS)
    return {part: features(home, part, "plain") for part in ("train", "test")}


@pytest.mark.parametrize("kind", ["parquet", "saved"])
def test_tables_give_the_features_of_the_same_files(home, tiny_model, plain, kind):
    extract(DRAW[kind](home / kind), tiny_model, *SHOTS)
    for part, n in (("train", 12), ("test", 6)):
        found = features(home, part, kind)
        names = sorted(found.paths)  # rows are in the order of the pictures
        files = [f"{part}/{CLASSES[i % 3]}/{i:02d}.png" for i in range(n)]
        assert np.array_equal(found.rows(names)[:, 0], plain[part].rows(files)[:, 0])
        assert [item.label for item in sorted(getattr(split_of(kind), part))] == [i % 3 for i in range(n)]
        assert [found.contents[name] for name in names] == [plain[part].contents[name] for name in files]
    assert load_card(kind).classes == CLASSES
    bench("verify", kind)


def test_webdataset_shards_give_their_images_labels_names_and_templates(home, tiny_model):
    root = draw_webdataset(home / "wds_animals")
    result = extract(root, tiny_model, *SHOTS, "--workers", 2)
    split = split_of("wds_animals")
    assert split.train[0] == Item("train/0.tar/s0000000.jpg", 0)
    assert split.train[-1] == Item("train/1.tar/s0000011.webp", 2)
    assert [len(part) for part in split] == [12, 0, 6]
    assert load_card("wds_animals").templates == ("a photo of a {}, a type of animal.", "a {}.")
    assert "no validation images" in result.stderr
    read = image_reader("webdataset", root)
    with tarfile.open(root / "train" / "0.tar") as tar:
        assert read.data("train/0.tar/s0000004.png") == tar.extractfile("s0000004.png").read() == encoded(seed("train", 4))
    assert read.missing(["train/0.tar/s0000004.png", "train/0.tar/x.png", "train/7.tar/y.png"]) == [
        "train/0.tar/x.png",
        "train/7.tar/y.png",
    ]
    bench("verify", "wds_animals")


def refuse(root, model, match, *words):
    with pytest.raises(BenchError, match=match):
        extract(root, model, *SHOTS, *words)
    assert root.name not in card_paths()
    assert not (root.parent / "features" / "backbones").exists()


def cut(path, end):
    path.write_bytes(path.read_bytes()[:end])


def test_damaged_tars_are_told(home, tiny_model):
    def broken(change, match):
        root = draw_webdataset(home / "wds")
        change(root)
        refuse(root, tiny_model, match)
        shutil.rmtree(root)

    broken(lambda root: cut(root / "train" / "1.tar", -9000), r"train/1\.tar is truncated")
    size = 6 * 2 * 512  # headers, and contents
    broken(lambda root: cut(root / "test" / "0.tar", size), r"test/0\.tar is truncated")
    broken(lambda root: (root / "train" / "0.tar").unlink(), "shard 0 of the 2 of .*train is missing")
    broken(
        lambda root: (root / "train" / "0.tar").write_bytes(gzip.compress(b"x" * 999)), r"0\.tar is truncated, or not a plain tar"
    )
    again = [*sample("train", 0, 3), *sample("train", 1, 3)]
    broken(
        lambda root: write_tar(root / "train" / "1.tar", again), r"key 's0000000' comes twice: in train/0\.tar and in train/1\.tar"
    )
    broken(lambda root: write_tar(root / "train" / "1.tar", 2 * sample("train", 9, 3)), r"1\.tar holds 's0000009\.jpg' twice")
    broken(lambda root: write_tar(root / "train" / "1.tar", sample("train", 9, 3)[:1]), r"sample 's0000009' .* has no \.cls")
    broken(lambda root: write_tar(root / "train" / "1.tar", sample("train", 9, 3)[1:]), r"sample 's0000009' .* has no image")
    wrong = [("s9.png", encoded(1)), ("s9.cls", b"red_fox")]
    broken(lambda root: write_tar(root / "train" / "1.tar", wrong), r"the label of sample 's9' .* is 'red_fox', not a number")
    broken(
        lambda root: write_tar(root / "train" / "1.tar", [wrong[0], ("s9.cls", b"3")]),
        "split .*/wds gives .* the label 3; the card",
    )
    broken(lambda root: (root / "classnames.txt").unlink(), "no classnames.txt")
    huge = [wrong[0], ("s9.cls", b"9" * 5000)]  # more digits than Python turns into a number
    broken(lambda root: write_tar(root / "train" / "1.tar", huge), r"the label of sample 's9' .* is '9+', not a number")
    broken(
        lambda root: ((root / "train" / "1.tar").unlink(), (root / "train" / "1.tar").mkdir()), r"1\.tar cannot be read \(Is a dir"
    )


def test_shards_are_found_under_the_hubs_older_names(home):
    root = draw_parquet(home / "old")
    expected = {part: len(paths) for part, paths in shards_of(root).items()}
    for path in (root / "data").iterdir():
        path.rename(path.with_name(f"{path.stem}-1e013d76a660f355.parquet"))
    assert {part: len(paths) for part, paths in shards_of(root).items()} == expected == {"train": 2, "test": 2}
    (root / "data" / "train-00000-of-00002-1e013d76a660f355.parquet").unlink()
    with pytest.raises(BenchError, match="shard 0 of the 2 train shards"):
        shards_of(root)


NOTES = (
    "{oops",
    "[1]",
    '{"info": {"features": null}}',
    '{"info": {"features": {"label": {"_type": "ClassLabel", "names": null}}}}',
)


@pytest.mark.parametrize("note", NOTES)
def test_a_note_of_another_form_is_none(home, tiny_model, note):
    root = draw_parquet(home / "hf")
    for path in (root / "data").iterdir():
        pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": note}), path)
    refuse(root, tiny_model, "column 'label' .* does not say what the classes are called")


def test_a_tar_cut_between_two_files_is_truncated(home, tiny_model):
    root = draw_webdataset(home / "wds")
    with tarfile.open(root / "train" / "1.tar") as tar:
        last = tar.getmembers()[-2]
    cut(root / "train" / "1.tar", last.offset)
    refuse(root, tiny_model, r"1\.tar is truncated: its end is missing")


def test_damaged_tables_are_told(home, tiny_model):
    data = home / "hf" / "data"

    def broken(change, match):
        draw_parquet(home / "hf", shards=3)
        change()
        refuse(home / "hf", tiny_model, match)
        shutil.rmtree(home / "hf")

    middle = data / "train-00001-of-00003.parquet"
    broken(middle.unlink, "shard 1 of the 3 train shards in .* is missing")
    broken(lambda: cut(middle, -30), r"00001-of-00003\.parquet is truncated or not parquet")
    broken(lambda: pq.write_table(table("train", [4, 5], label=[0, 3]), middle), "row 1 of .* has the label 3, which is not one of")
    broken(lambda: pq.write_table(table("train", [4, 5], label=[-1, 0]), middle), "row 0 of .* has the label -1")
    broken(lambda: pq.write_table(table("train", [4, 5], label=[None, 0]), middle), "row 0 of .* has the label None")
    other = table("train", [4, 5], classes=("a", "b"))
    broken(lambda: pq.write_table(other, middle), "has another schema than .* 3 names and .* 2 names")
    broken(lambda: pq.write_table(other.drop_columns("label"), middle), "has no label column; it has: image")
    broken(lambda: pq.write_table(other.drop_columns("image"), middle), "has no image column; it has: label")
    broken(lambda: shutil.copytree(data, home / "hf" / "small"), "holds test twice: data/.* and small/")
    saved = draw_saved(home / "saved")
    cut(saved / "train" / "data-00000-of-00001.arrow", -8)
    refuse(saved, tiny_model, "truncated: its end is missing")


def test_label_names_that_are_not_the_cards_are_shown_both(home):
    card = small("eurosat")
    card = card.model_copy(update={"source": card.source.model_copy(update={"format": "huggingface"})})
    with pytest.raises(BenchError, match="calls class 0 'blue_whale', the card 'Annual Crop Land'"):
        read_source(card, draw_parquet(home / "hf"), home)
    card = card.model_copy(update={"source": card.source.model_copy(update={"format": "webdataset"})})
    with pytest.raises(BenchError, match=r"classnames\.txt calls class 0 'blue_whale', the card 'Annual Crop Land'"):
        read_source(card, draw_webdataset(home / "wds"), home)


@pytest.mark.parametrize("image", ["paths", "plain"])
def test_images_of_a_table_are_bytes_or_paths(home, tiny_model, image):
    root = draw_parquet(home / "hf", image=image)
    (root / "files").mkdir()
    for part, n in (("train", 12), ("test", 6)):
        for i in range(n):
            (root / "files" / f"{part}{i}.png").write_bytes(encoded(seed(part, i)))
    extract(root, tiny_model, *SHOTS)
    read = image_reader("huggingface", root)
    for i, path in enumerate(sorted(features(home, "train", "hf").paths)):
        assert read.data(path) == encoded(seed("train", i))
    assert read.data(min(features(home, "train", "hf").paths)) == encoded(seed("train", 0))  # back to the beginning


def test_labels_that_are_names_and_the_cache_of_datasets_are_read(home):
    made = table("train", range(6), names=False, label=[CLASSES[i % 3] for i in range(6)])
    write_stream(home / "cache" / "animals-train.arrow", made)
    write_stream(home / "cache" / "animals-test.arrow", made)
    write_stream(home / "cache" / "cache-train.arrow", made)  # what `map` leaves
    card = small("eurosat").model_copy(update={"classes": CLASSES})
    card = card.model_copy(update={"source": card.source.model_copy(update={"format": "huggingface"})})
    split = read_source(card, home / "cache", home)
    assert split.train[:2] == [Item("animals-train.arrow/0000000", 0), Item("animals-train.arrow/0000001", 1)]
    assert len(split.test) == 6


def test_a_test_part_is_made_of_the_training_images_only_when_asked(home, tiny_model):
    root = draw_parquet(home / "hf", parts=(("train", 30),))
    refuse(root, tiny_model, "has no test part, only 30 train images")
    extract(root, tiny_model, *SHOTS, "--make-test", 0.3)
    split = split_of("hf")
    assert [len(part) for part in split] == [21, 0, 9]
    assert sorted(item.label for item in split.test) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    extract(root, tiny_model, *SHOTS, "--make-test", 0.3)  # the same again
    shutil.rmtree(home / "features")
    load_card.cache_clear()
    refuse(draw_parquet(home / "both"), tiny_model, "6 test images; none are to be made", "--make-test", 0.3)


def test_csv(home, tiny_model):
    for i in range(12):
        (home / "csv").mkdir(exist_ok=True)
        (home / "csv" / f"{i}.png").write_bytes(encoded(i))
    rows = [f"{i}.png;{CLASSES[i % 3]};{'valid' if i > 8 else 'test' if i > 5 else 'train'}" for i in range(12)]
    write(home / "labels.csv", "file;class;split", *rows)
    extract(home / "csv", tiny_model, *SHOTS, "--split", home / "labels.csv")
    assert [len(part) for part in split_of("csv")] == [6, 3, 3]
    assert split_of("csv").val[0] == Item("9.png", 0)
    for lines, match in (
        (["file,class", "0.png,red_fox,train"], "line 2 of .* does not have the 2 fields"),
        (["file,colour", "0.png,red"], "no column of labels; it has: file, colour"),
        (["file,class,split"], "labels.csv lists no images"),
        (["file,class,split", "0.png,red_fox,dev"], "line 2 of .* names the part 'dev'"),
        (["file,class", "0.png,0"], "numbers its classes"),
        ([f"file,{'a' * 140_000}", "0.png,red"], "is not CSV near line 1"),
        (["file,class", "0.png,red_fox", "0.png,red_fox", "1.png,blue_whale"], "'0.png' twice"),
    ):
        write(home / "labels.csv", *lines)
        with pytest.raises(BenchError, match=match):
            extract(home / "csv", tiny_model, "--split", home / "labels.csv", "--name", "other", "--make-test", 0.5)


def test_imagenet_from_its_tars_is_imagenet_from_coops_folders(tmp_path):
    root = tmp_path / "images"
    wnids = ("n01440764", "n01443537", "n01484850")
    inner = []
    for c, wnid in enumerate(wnids):
        names = [(f"{wnid}_{i}.JPEG", encoded(10 * c + i, "JPEG")) for i in (7, 10)]
        buffer = io.BytesIO(write_tar(tmp_path / "x.tar", names).read_bytes())
        inner.append((f"{wnid}.tar", buffer.getvalue()))
        for name, data in names:
            (root / "train" / wnid).mkdir(parents=True, exist_ok=True)
            (root / "train" / wnid / name).write_bytes(data)
    truth = (2, 1, 3, 1)  # ILSVRC2012's own numbers, which are in another order than the wnids
    wnid_of = {1: wnids[1], 2: wnids[0], 3: wnids[2]}
    val = [(f"ILSVRC2012_val_{i + 1:08d}.JPEG", encoded(50 + i, "JPEG")) for i in range(4)]
    for (name, data), number in zip(val, truth, strict=True):
        (root / "val" / wnid_of[number]).mkdir(parents=True, exist_ok=True)
        (root / "val" / wnid_of[number] / name).write_bytes(data)
    write(tmp_path / "classnames.txt", *(f"{wnid} x" for wnid in wnids))
    card = small("imagenet")
    folders = read_source(card, root, tmp_path / "classnames.txt")

    tars = tmp_path / "tars"
    write_tar(tars / "ILSVRC2012_img_train.tar", inner)
    write_tar(tars / "ILSVRC2012_img_val.tar", val)
    rows = np.array([(number, wnid, "words") for number, wnid in wnid_of.items()], dtype=[("ID", "O"), ("WNID", "O"), ("w", "O")])
    scipy.io.savemat(tmp_path / "meta.mat", {"synsets": rows})
    with tarfile.open(tars / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "meta.mat", "ILSVRC2012_devkit_t12/data/meta.mat")
        write(tmp_path / "truth.txt", *map(str, truth))
        tar.add(tmp_path / "truth.txt", "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt")
    assert read_source(card, tars, tmp_path / "nowhere") == folders
    ours, theirs = image_reader("imagenet", tars), image_reader("imagenet", root)
    paths = [item.path for part in folders for item in part]
    assert [ours.content(path) for path in paths] == [theirs.content(path) for path in paths]
    assert ours.missing([*paths, "val/n0/x.JPEG"]) == ["val/n0/x.JPEG"]
    (tars / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    shutil.move(tars, tmp_path / "moved")
    with pytest.raises(BenchError, match=r"devkit_t12\.tar\.gz is missing"):
        read_source(card, tmp_path / "moved", tmp_path)
