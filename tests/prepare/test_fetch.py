"""Fetching is asked for, checked, goes on where it stopped, and says in one sentence what went wrong."""

import json

import pytest
from typer.testing import CliRunner

from bench.cli.data import app
from bench.data.cards import load_card
from bench.errors import BenchError
from bench.prepare.fetch import Place, place_of
from tests.prepare.drawing import CLASSES, draw_parquet, draw_webdataset
from tests.prepare.hub import COMMIT, Hub


@pytest.fixture
def hub(home, tmp_path, monkeypatch):
    """A hub that holds a dataset of tar shards."""
    root = draw_webdataset(tmp_path / "source")
    served = Hub(
        "owner/wds_animals", {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    )
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    yield served
    served.shutdown()
    served.server_close()


def get(*words):
    result = CliRunner().invoke(app, ["get", *map(str, words)])
    if isinstance(result.exception, BenchError):
        raise result.exception
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def card_of(tmp_path, download="hub:owner/wds_animals", **counts):
    source = {"format": "webdataset", "images": "animals", "split": "", "download": download}
    values = {"name": "animals", "title": "t", "templates": ["a {}."], "classes": list(CLASSES)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    lines += [f"counts = {{ {', '.join(f'{part} = {n}' for part, n in counts.items())} }}", "[source]"]
    (tmp_path / "animals.toml").write_text(
        "\n".join([*lines, *(f"{key} = {json.dumps(value)}" for key, value in source.items())]) + "\n"
    )
    load_card.cache_clear()
    return tmp_path / "animals.toml"


def bodies(hub):
    return [path for method, path, _ in hub.asked if method == "GET" and path.startswith("/cdn/")]


def test_a_cards_images_are_fetched_checked_and_not_fetched_again(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    card = card_of(tmp_path, train=12, val=0, test=6)
    with pytest.raises(BenchError, match=r"unless asked: hub owner/wds_animals at main would go to .*data/animals"):
        get(card)
    assert not hub.asked
    assert not (tmp_path / "data").exists()
    told = get(card, "--download")
    assert f"fetched {COMMIT}" in told.stderr
    assert "12 train, 0 val, 6 test" in told.stdout
    for name, data in hub.files.items():
        assert (tmp_path / "data" / "animals" / name).read_bytes() == data
    assert sorted(bodies(hub)) == sorted(f"/cdn/{name}" for name in hub.files)
    get(card, "--download")
    assert len(bodies(hub)) == len(hub.files)
    with pytest.raises(BenchError, match="has 12 train images, the card says 13"):
        get(card_of(tmp_path, train=13, val=0, test=6), "--download")


def test_a_card_of_the_hub_names_repository_revision_classes_and_counts(home, tmp_path, hub, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "data"))
    names = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop", "Residential",
             "River", "SeaLake")  # fmt: skip
    root = draw_parquet(tmp_path / "eurosat", parts=(("train", 20), ("validation", 10), ("test", 10)), classes=names)
    hub.files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.parquet")}
    hub.repository, hub.commit = "timm/eurosat-rgb", "b4e28552cd5f3932b6abc37eb20d3e84901ad728"
    with pytest.raises(BenchError, match="has 20 train images, the card says 16200"):  # all else is as the card says
        get("eurosat_hub", "--download")
    assert len(list((tmp_path / "data" / "eurosat_hub").rglob("*.parquet"))) == 6
    hub.commit = COMMIT
    with pytest.raises(BenchError, match="there is no such revision"):
        get("eurosat_hub", "--download")


def test_a_repository_needs_no_card(hub, tmp_path):
    told = get("owner/wds_animals", "--images", tmp_path / "here", "--download")
    assert "webdataset, 3 classes" in told.stdout
    with pytest.raises(BenchError, match="no folder is known for the images of 'owner/wds_animals'"):
        get("owner/wds_animals")


def test_a_broken_transfer_goes_on_within_a_file_and_between_files(hub, tmp_path):
    hub.breaks["train/1.tar"] = 1
    get("owner/wds_animals", "--images", tmp_path / "here", "--download")
    ranges = [span for method, path, span in hub.asked if path == "/cdn/train/1.tar" and method == "GET"]
    half = len(hub.files["train/1.tar"]) // 2  # what came over before it broke
    assert ranges == [None, f"bytes={half // 1024 * 1024}-"]
    assert (tmp_path / "here" / "train" / "1.tar").read_bytes() == hub.files["train/1.tar"]

    hub.breaks["train/1.tar"] = 1000
    with pytest.raises(BenchError, match="could not be fetched") as caught:
        get("owner/wds_animals", "--images", tmp_path / "there", "--download")
    assert caught.value.code == 3
    assert not (tmp_path / "there" / "train" / "1.tar").exists()
    whole = set((tmp_path / "there").rglob("*.tar"))
    hub.breaks.clear()
    before = len(bodies(hub))
    get("owner/wds_animals", "--images", tmp_path / "there", "--download")
    again = bodies(hub)[before:]
    assert "/cdn/train/1.tar" in again
    assert not {f"/cdn/{path.relative_to(tmp_path / 'there')}" for path in whole} & set(again)


def test_what_the_hub_refuses_is_one_sentence(hub, tmp_path, monkeypatch):
    where = ("--images", tmp_path / "here", "--download")
    with pytest.raises(BenchError, match="dataset owner/other@main: not on the hub, or private"):
        get("owner/other", *where)
    with pytest.raises(BenchError, match="dataset owner/wds_animals@v9: there is no such revision"):
        get("owner/wds_animals@v9", *where)
    hub.gone.add("train/0.tar")
    with pytest.raises(BenchError, match="a file that is listed is not there"):
        get("owner/wds_animals", *where)
    hub.gated = True
    with pytest.raises(BenchError, match="dataset owner/wds_animals@main: access is gated, its owners want terms accepted first"):
        get("owner/wds_animals", *where)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(BenchError, match="could not be fetched"):
        get("owner/wds_animals", *where)


def test_a_file_that_was_altered_is_noticed_and_fetched_anew(hub, tmp_path):
    where = ("--images", tmp_path / "here", "--download")
    get("owner/wds_animals", *where)
    shard = tmp_path / "here" / "test" / "0.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(BenchError, match=r"test/0\.tar is not what owner/wds_animals holds"):
        get("owner/wds_animals", *where)
    get("owner/wds_animals", *where)
    assert shard.read_bytes() == hub.files["test/0.tar"]


def test_torchvision_fetches_to_where_the_card_says(home, tmp_path, monkeypatch):
    import torchvision

    asked = []
    monkeypatch.setattr(torchvision.datasets, "EuroSAT", lambda root, download: asked.append((root, download)))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    with pytest.raises(BenchError, match=r"image folder .*eurosat/2750' of|the image folder .*eurosat/2750"):
        get("eurosat", "--download")
    assert asked == [(tmp_path, True)]

    def broken(root, download):
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets, "EuroSAT", broken)
    with pytest.raises(BenchError, match=r"torchvision could not fetch EuroSAT .File not found or corrupted"):
        get("eurosat", "--download")
    with pytest.raises(BenchError, match=r"'caltech101' names no place .* Images: https://data\.caltech.edu"):
        get("caltech101", "--download")
    with pytest.raises(BenchError, match=r"'https://hub/a/b' names no place .* Name OWNER/NAME"):
        get("https://hub/a/b", "--download")


def test_places():
    assert place_of("hub:a/b@v1", "x", "") == Place("hub", "a/b", "v1")
    assert place_of("hub:a/b", "x", "") == Place("hub", "a/b", "main")
    assert place_of("torchvision:DTD", "x", "") == Place("torchvision", "DTD")
    for odd in ("", "a/b", "hub:b", "http://x/y", "torchvision:a.b"):
        with pytest.raises(BenchError, match="names no place"):
            place_of(odd, "x", "")


def test_a_tags_weights_are_fetched_only_when_asked(home, tmp_path, monkeypatch):
    import open_clip

    from bench.backbones.weights import resolve

    name = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")["hf_hub"].rstrip("/")
    served = Hub(name, {"open_clip_model.safetensors": b"weights"})
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(BenchError, match=r"are not on this machine.*--download"):
        resolve("ViT-B-32", "laion2b_s34b_b79k")
    assert not served.asked
    found = resolve("ViT-B-32", "laion2b_s34b_b79k", download=True)
    with open(found.weights, "rb") as file:  # noqa: PTH123 - a path in text
        assert file.read() == b"weights"
    served.gated = True
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(BenchError, match="the weights 'laion2b_s34b_b79k' of ViT-B-32: access is gated"):
        resolve("ViT-B-32", "laion2b_s34b_b79k", download=True)
    served.shutdown()
    served.server_close()
