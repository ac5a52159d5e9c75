"""The committed files of the embedded model and its tasks agree with each other."""

import hashlib
import json
import re
import tomllib
from collections import Counter

import numpy as np
import open_clip
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from bench.data.features import open_features, verify_features
from bench.paths import datasets_root

ROOT = datasets_root()
MODEL = ROOT / "embedded" / "model"
CARDS = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(ROOT.glob("*.toml"))}
TASKS = {name: card for name, card in CARDS.items() if "domain" in card}
RECIPE = ROOT / "embedded" / "recipe"
PERMITTED = {"MIT", "Apache-2.0", "CC-BY-4.0", "CC-BY-3.0", "CC0-1.0", "OFL-1.1", "ISC", "BSD-3-Clause", "Unicode-3.0"}


def split_of(name):
    return json.loads((ROOT / TASKS[name]["split"]).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    return open_clip.create_model(f"local-dir:{MODEL}").eval()


@pytest.fixture(scope="module")
def tokenizer():
    return SimpleTokenizer(bpe_path=str(MODEL / "bpe_6000.txt.gz"), context_length=32)


def test_there_are_enough_tasks_of_both_kinds():
    domains = Counter(card["domain"] for card in TASKS.values())
    assert domains["in"] >= 12
    assert domains["out"] >= 12
    assert set(domains) == {"in", "out"}


@pytest.mark.parametrize("name", TASKS)
def test_card_split_and_features_agree(name):
    card, split = TASKS[name], split_of(name)
    assert card["name"] == name
    assert {side: len(items) for side, items in split.items()} == card["counts"]
    assert card["counts"]["test"] >= 300
    assert 8 <= len(card["classes"]) <= 40
    for side, items in split.items():
        assert all(card["classes"][label] == class_name for _, label, class_name in items)
        features = open_features(ROOT / card["features"] / "embedded" / side)
        assert list(features.paths) == [key for key, _, _ in items]
        assert features.views == (8 if side == "train" else 0)
        assert features.dim == 128
    per_class = {side: Counter(label for _, label, _ in items) for side, items in split.items()}
    for label in range(len(card["classes"])):
        assert per_class["train"][label] >= 16
        assert per_class["val"][label] >= 4
        assert per_class["test"][label] >= 8


@pytest.mark.parametrize("name", TASKS)
def test_features_are_sound_and_of_these_weights(name):
    weights = json.loads((ROOT / "embedded" / "checksums.json").read_text())["model/open_clip_model.safetensors"]
    for side in ("train", "val", "test"):
        folder = ROOT / TASKS[name]["features"] / "embedded" / side
        assert verify_features(folder) == []
        assert json.loads((folder / "manifest.json").read_text())["inputs"]["weights"] == weights


@pytest.mark.parametrize("name", TASKS)
def test_no_picture_is_in_a_task_twice(name):
    keys = [key for items in split_of(name).values() for key, _, _ in items]
    assert len(set(keys)) == len(keys)


def families():
    # Read as text: the recipe's modules are scripts, not a package.
    text = (RECIPE / "sets.py").read_text(encoding="utf-8")
    block = text[text.index("FAMILIES: ") : text.index("_FAMILY_OF")]
    names = {}
    for family, prefixes in re.findall(r'"([\w-]+)": \(([^)]*)\)', block):
        names |= dict.fromkeys(re.findall(r'"([\w-]+)"', prefixes), family)
    return names


def test_icon_tasks_hold_no_pretraining_family_and_keep_families_on_one_side():
    of, sides = families(), json.loads((RECIPE / "families.json").read_text())
    assert not set(sides["pretrain"]) & set(sides["held_out"])
    seen = Counter()
    for name in (name for name, card in TASKS.items() if card["domain"] == "in"):
        where = {}
        for side, items in split_of(name).items():
            for key, label, _ in items:
                prefix = key.split("/")[0]
                family = of.get(prefix, prefix)
                assert family in sides["held_out"]
                assert where.setdefault((family, label), side) == side
                seen[key] += 1
    assert max(seen.values()) == 1  # no picture in two icon tasks


def owner_of(key, families_of):
    """What must lie on one side: a font's house, a character, a country, a family of icons."""
    source, middle, *_ = key.split("/")
    match source:
        case "greek_letters" | "hiragana" | "arabic_letters" | "math_signs" | "currency_signs":
            return middle.split("-")[0]
        case "music_signs":
            return middle
        case "chinese_parts":
            return key.split("/")[2]
        case "circle-flags" | "cif" | "flag" | "flagpack":
            return middle[:2]
        case _:
            return families_of.get(source, source)


SEPARATED = ("greek_letters", "hiragana", "arabic_letters", "math_signs", "currency_signs", "music_signs", "chinese_parts")
OF_ICONS = ("icon_colour", "icon_count", "icon_rotation")


@pytest.mark.parametrize("name", [*SEPARATED, *OF_ICONS, "flags"])
def test_what_one_hand_drew_lies_on_one_side_of_a_task(name):
    of, held_out, where = families(), set(json.loads((RECIPE / "families.json").read_text())["held_out"]), {}
    for side, items in split_of(name).items():
        for key, _, _ in items:
            owner = owner_of(key, of)
            assert where.setdefault(owner, side) == side, (owner, side)
    assert set(where.values()) == {"train", "val", "test"}
    if name in OF_ICONS:
        assert where.keys() <= held_out


def test_checksums_name_every_model_file():
    sums = json.loads((ROOT / "embedded" / "checksums.json").read_text())
    assert set(sums) == {f"model/{path.name}" for path in MODEL.iterdir()}
    for name, digest in sums.items():
        assert hashlib.sha256((ROOT / "embedded" / name).read_bytes()).hexdigest() == digest, name


def test_sizes_stay_small():
    assert (MODEL / "open_clip_model.safetensors").stat().st_size <= 8_000_000
    features = [path for path in (ROOT / "embedded" / "tasks").glob("*/embedded/*/*") if path.is_file()]
    assert sum(path.stat().st_size for path in features) <= 45_000_000


def test_every_set_is_attributed_under_a_permitted_licence():
    rows, text = {}, (ROOT / "embedded" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) in {4, 6} and cells[0] not in {"set", "data", "package", "---"}:
            rows[cells[0]] = cells
            assert cells[-2 if len(cells) == 4 else 3] in PERMITTED, line
            assert all(cells), line
    sources = {name: {key.split("/")[0] for items in split_of(name).values() for key, _, _ in items} for name in TASKS}
    for name, used in sources.items():
        if used & {name, name.replace("_", "-")}:  # pictures that no icon set drew
            assert re.search(rf"\| tasks? (.*, )?{name}(,.*)? \|", text), name
        else:
            assert used <= rows.keys(), name


def test_the_model_is_an_open_clip_model_with_its_own_tokenizer(model, tokenizer):
    tokens = tokenizer(["an icon of a sailboat.", "word " * 60])
    assert tokens.shape == (2, 32)
    assert tokenizer.vocab_size == model.vocab_size == 6514
    assert int(tokens.max()) == tokenizer.eot_token_id == 6513
    with torch.inference_mode():
        text = model.encode_text(tokens, normalize=True)
        image = model.encode_image(torch.ones(1, 3, 32, 32), normalize=True)
    assert text.shape == (2, 128)
    assert torch.isfinite(text).all()
    assert torch.isfinite(image).all()


def test_zero_shot_is_far_above_chance_on_every_icon_task(model, tokenizer):
    for name, card in TASKS.items():
        if card["domain"] == "out":
            continue
        items = split_of(name)["test"]
        prompts = [card["templates"][0].format(label.replace("_", " ")) for label in card["classes"]]
        with torch.inference_mode():
            text = model.encode_text(tokenizer(prompts), normalize=True).numpy()
        features = open_features(ROOT / card["features"] / "embedded" / "test").rows([key for key, _, _ in items])[:, 0]
        accuracy = np.mean((features @ text.T).argmax(1) == [label for _, label, _ in items])
        assert accuracy > 4 / len(card["classes"]), name
