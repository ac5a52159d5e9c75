"""The two identities of a run."""

import hashlib
import json

import pytest
from pydantic import ValidationError

from bench.spec import MethodSpec, NoiseSpec, RunSpec, TrainSpec, cell_of

VERSIONS = {"method": 1, "engine": 1, "features": "abc"}


def spec(**changes) -> RunSpec:
    usual = {
        "method": MethodSpec(name="gce", params={"q": 0.7, "a": 1}),
        "dataset": "alpha",
        "task": "t",
        "backbone": "embedded",
        "views": 8,
        "shots": 16,
        "noise": NoiseSpec(protocol="symmetric", rate=0.5),
        "seed": 1,
        "train": TrainSpec(),
    }
    return RunSpec(**{**usual, **changes})


def test_cell_id_is_the_hash_of_sorted_json_and_key_order_never_matters():
    one = spec()
    text = json.dumps(
        json.loads(one.model_dump_json(exclude={"method": {"tunes"}, "from_shots": True})), sort_keys=True, separators=(",", ":")
    )
    assert one.cell_id == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert spec(method=MethodSpec(params={"a": 1, "q": 0.7}, name="gce")).cell_id == one.cell_id


def test_the_ids_of_stored_runs_never_change():
    """Frozen: when this fails, everything that anybody has stored is orphaned. A field that comes later is `later(absent)`."""
    assert spec().cell_id == "359cfda70c91ea9c"
    assert spec(train=None).cell_id == "9dcbcdfa1164459c"


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_that_cannot_be_stored_or_draws_as_another_does_is_refused(seed):
    with pytest.raises(ValidationError):
        spec(seed=seed)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"shots": 8},
        {"views": 4},
        {"backbone": "RN50@openai"},
        {"task": "another split"},
        {"dataset": "beta"},
        {"noise": NoiseSpec(protocol="pairflip", rate=0.5)},
        {"method": MethodSpec(name="gce", params={"q": 0.5, "a": 1})},
        {"train": TrainSpec(precision="bf16")},
        {"train": TrainSpec(drop_last=False)},
        {"train": None},
    ],
)
def test_whatever_is_asked_differently_is_another_cell(change):
    assert spec(**change).cell_id != spec().cell_id


def test_where_a_card_lies_is_no_part_of_the_cell():
    assert spec(dataset="/somewhere/alpha.toml").cell_id == spec(dataset="/elsewhere/alpha.toml").cell_id == spec().cell_id


def test_a_copy_has_an_identity_of_its_own():
    one = spec()
    assert one.cell_id != one.model_copy(update={"seed": 2}).cell_id == spec(seed=2).cell_id


def test_run_id_is_the_cell_and_the_versions():
    one = spec()
    assert cell_of(one.run_id(VERSIONS)) == one.cell_id
    assert one.run_id(VERSIONS) == one.run_id(dict(reversed(VERSIONS.items())))
    assert len({one.run_id(VERSIONS | {key: "other"}) for key in VERSIONS} | {one.run_id(VERSIONS)}) == 4


def test_a_spec_is_frozen_and_refuses_unknown_keys():
    with pytest.raises(ValidationError):
        spec().seed = 2
    with pytest.raises(ValidationError):
        spec(device="cpu")
