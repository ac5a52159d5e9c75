"""False positives as PTNL and JoAPR make them: where shots and their replacements come from, and how many there are."""

import gzip
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.cards import load_card
from bench.data.noise import make_noise
from bench.data.replaced import draw_halves, replace_images
from bench.data.splits import Item, Split, draw_few_shot, read_split
from bench.data.task import draw_images, needed_images
from bench.errors import BenchError
from bench.spec import NoiseSpec

PROTOCOLS = ("fp_symmetric", "fp_even", "fp_pairflip")
RATES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1)


def images(*sizes):
    return [Item(f"{label}/{i}", label) for label, size in enumerate(sizes) for i in range(size)]


def number(item):
    return int(item.path.partition("/")[2])


def test_halves_are_cut_in_file_order_and_small_ones_are_drawn_again():
    train = images(9, 3, 40)
    shots, spare = draw_halves(train[::-1], 6, seed=1)  # the file's order: here backwards
    assert Counter(item.label for item in shots) == {0: 6, 1: 6, 2: 6}
    assert {number(item) for item in shots if item.label == 1} <= {2, 1}  # the first two of three
    assert sorted(map(number, (item for item in spare if item.label == 0))) == [0, 1, 2, 3]
    assert len({item for item in shots if item.label == 2}) == 6  # of twenty: without replacement
    assert not set(shots) & set(spare)
    assert draw_halves(train, 6, 2) != draw_halves(train, 6, 1)
    assert len(draw_halves(train, 0, 1)[0]) == 5 + 2 + 20  # all shots: the first halves whole


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), rates=st.tuples(st.sampled_from(RATES), st.sampled_from(RATES)))
def test_replaced_images_are_spare_nested_over_rates_and_keep_classes_balanced(protocol, seed, rates):
    shots, spare = draw_halves(images(*[16] * 5), 4, seed)
    before: dict[int, Item] = {}
    for rate in sorted(rates):
        used = replace_images(protocol, shots, spare, 5, rate, seed)
        changed = {i: item for i, item in enumerate(used) if item != shots[i]}
        assert set(changed.values()) <= set(spare)
        assert len(set(changed.values())) == len(changed)  # none twice, there are enough
        assert before.items() <= changed.items()
        each = {0.125: 0, 0.25: 1, 0.375: 2, 0.5: 2, 0.625: 2, 0.75: 3, 1: 4}[rate]  # of four; a half rounds to even
        assert Counter(shots[i].label for i in changed) == dict.fromkeys(range(5), each) if each else not changed
        for i, item in changed.items():
            step = (item.label - shots[i].label) % 5
            assert step == 1 if protocol == "fp_pairflip" else step
        before = changed


def test_false_positives_are_uniform_over_images_and_the_even_draw_over_classes():
    """Classes of 20, 20, 60 and 300 images: a false positive of class 0 is of class 3 in 150 of 190 draws, or in every third."""
    train, found = images(20, 20, 60, 300), {}
    for protocol in ("fp_symmetric", "fp_even"):
        drawn: Counter = Counter()
        for seed in range(40):
            shots, spare = draw_halves(train, 5, seed)
            used = replace_images(protocol, shots, spare, 4, 0.6, seed)
            drawn += Counter(item.label for shot, item in zip(shots, used, strict=True) if item != shot and shot.label == 0)
        assert drawn.total() == 120
        found[protocol] = [drawn[label] / 120 for label in (1, 2, 3)]
    np.testing.assert_allclose(found["fp_symmetric"], [10 / 190, 30 / 190, 150 / 190], atol=0.1)  # 2.7 standard errors
    np.testing.assert_allclose(found["fp_even"], [1 / 3] * 3, atol=0.13)


def test_an_image_is_shown_again_only_when_all_others_have_been():
    shots, spare = draw_halves(images(4, 4, 4), 4, 1)
    used = replace_images("fp_pairflip", shots, spare, 3, 1, 1)
    for label in range(3):
        shown = Counter(item for shot, item in zip(shots, used, strict=True) if shot.label == label)
        assert shown == {item: 2 for item in spare if item.label == (label + 1) % 3}  # two images for four slots


def test_uneven_classes_keep_their_nesting():
    train = images(40, 12, 18)
    shots, spare = draw_halves(train, 0, 7)
    low, high = (replace_images("fp_symmetric", shots, spare, 3, rate, 7) for rate in (0.5, 1))
    assert all(h == v for s, v, h in zip(shots, low, high, strict=True) if v != s)
    assert all(s.label != h.label for s, h in zip(shots, high, strict=True))
    assert Counter(s.label for s, v in zip(shots, low, strict=True) if v != s) == {0: 10, 1: 3, 2: 4}  # of 20, 6 and 9


def test_no_image_to_replace_with_is_told():
    shots, spare = draw_halves(images(4, 1), 2, 1)
    with pytest.raises(BenchError, match="no image to replace a shot of class 0"):
        replace_images("fp_pairflip", shots, spare, 2, 0.5, 1)


def test_the_same_seed_gives_the_same_images_always():
    """They are part of stored results: these must never change without a new protocol name."""
    shots, spare = draw_halves(images(6, 6, 6), 2, 11)
    drawn = {"shots": shots} | {protocol: replace_images(protocol, shots, spare, 3, 0.5, 11) for protocol in PROTOCOLS}
    pinned = json.loads((Path(__file__).parent / "noise_pinned.json").read_text())["images"]
    assert {name: [item.path for item in items] for name, items in drawn.items()} == pinned


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_caltech_at_16_shots(published, tmp_path, protocol):
    """Three of its classes have 16 training images in all, so 8 of each to draw 16 shots from and 8 to replace others with."""
    path = tmp_path / "split.json"
    path.write_bytes(gzip.decompress((published / "split_zhou_Caltech101.json.gz").read_bytes()))
    card = load_card("caltech101")
    split = read_split(path, card.classes)
    before: dict[int, Item] = {}
    for rate, each in zip(RATES[:6], (2, 4, 6, 8, 10, 12), strict=True):
        drawn = draw_images(card, split, 16, 1, NoiseSpec(protocol=protocol, rate=rate))
        wrong = {i: new for i, (shot, new) in enumerate(zip(drawn.shots, drawn.train, strict=True)) if shot.label != new.label}
        assert Counter(shot.label for shot in drawn.shots) == dict.fromkeys(range(100), 16)
        assert Counter(drawn.shots[i].label for i in wrong) == dict.fromkeys(range(100), each)
        assert before.items() <= wrong.items()
        assert drawn.val == draw_few_shot(split, 16, 1)[1]  # validation is the one of every protocol
        true = np.array([item.label for item in drawn.val])
        assert (make_noise(protocol, true, 100, rate, 1, "val") != true).sum() == int(rate * len(true))
        before = wrong
    small = [label for label, size in Counter(item.label for item in split.train).items() if size == 16]
    assert len(small) == 3
    assert all(len({shot for shot in drawn.shots if shot.label == label}) <= 8 for label in small)


def test_what_is_extracted_for_a_rate_serves_all_lower_ones():
    split = Split(images(16, 16, 16), [], [])
    card = load_card("dtd")
    enough = needed_images(card, split, [4], [1, 2], [NoiseSpec(protocol="fp_symmetric", rate=0.75)])
    for rate in RATES[:6]:
        for seed in (1, 2):
            assert set(draw_images(card, split, 4, seed, NoiseSpec(protocol="fp_symmetric", rate=rate)).train) <= set(enough.train)
