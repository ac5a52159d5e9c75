"""What rows are called where runs differ in how they were trained, and which such runs a user can choose and compare."""

import json
import tomllib

import pandas as pd
import pytest

from bench.errors import BenchError
from bench.files import toml_text
from bench.grid import Grid, expand
from reports import analyse, cells, compare, completeness, labels, sentences
from reports.choices import Choices

STARTS = {
    "16 random tokens": {"ctx_init": "random", "ctx_words": "", "n_ctx": 16},
    "1 random token": {"ctx_init": "random", "ctx_words": "", "n_ctx": 1},
    '"a photo of a"': {"ctx_init": "words", "ctx_words": "a photo of a", "n_ctx": 0},
    '"a photo of a" in 16 tokens': {"ctx_init": "words", "ctx_words": "a photo of a", "n_ctx": 16},
    "the card's template": {"ctx_init": "template", "ctx_words": "", "n_ctx": 0},
}


def trained(frame, tag, **keys):
    """The trained runs of a frame, trained another way."""
    rows = frame[frame["trained"].astype(bool)]
    train = [json.dumps(json.loads(text) | keys) for text in rows["train"]]
    return rows.assign(train=train, lr=keys.get("lr", 0.002), run_id=rows["run_id"] + tag, cell_id=rows["cell_id"] + tag)


def from_starts(sim, *names):
    frame = sim.simulate(2, 3, 1)
    parts = [trained(frame, str(i), **STARTS[name]) for i, name in enumerate(names)]
    return pd.concat([frame[~frame["trained"].astype(bool)], *parts])  # their row numbers repeat


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_called_as_papers_call_it(name):
    assert labels.start(labels.ABSENT | STARTS[name]) == name


def test_rows_of_several_starts_are_told_apart_by_them_alone(sim):
    frame = from_starts(sim, "16 random tokens", '"a photo of a"', "the card's template")
    analysis = analyse(frame, Choices(control="coop_ce from the card's template"))
    expected = {f"{name} from {start}" for name in ("coop_ce", "gce") for start in list(STARTS)[::2]}
    assert set(analysis.labels) == expected | {"zero_shot"}
    assert '30 epochs from "a photo of a" or 16 random tokens or the card\'s template' in sentences.setup(analysis)


def test_methods_from_different_starts_are_refused_unless_named(sim):
    frame = from_starts(sim, "16 random tokens", "the card's template")
    frame = frame[(frame["method"] != "gce") == ~frame["train"].str.contains("template")]
    with pytest.raises(BenchError, match=r"start is 16 random tokens \(coop_ce\); the card's template \(gce\)\."):
        analyse(frame)
    with pytest.raises(BenchError, match=r"--mixed 'epocs' is not a key .* Did you mean 'epochs'"):
        analyse(frame, Choices(mixed=["epocs"]))
    assert any(note.startswith("methods differ in start: ") for note in analyse(frame, Choices(mixed=["start"])).notes)


def test_a_key_of_the_training_protocol_chooses_runs(sim):
    frame = from_starts(sim, "16 random tokens", "the card's template")
    kept = analyse(frame, Choices(where={"ctx_init": ["template"]}))
    assert set(kept.labels) == {"coop_ce", "gce", "zero_shot"}
    assert kept.runs.query("trained")["train"].str.contains("template").all()
    assert set(cells.where(frame, {"momentum": [0.9]})["method"]) == {"coop_ce", "gce", "zero_shot"}  # as absent keys were
    with pytest.raises(BenchError, match=r"--where ctx_init=templat matches no run\. Did you mean 'template'"):
        cells.where(frame, {"ctx_init": ["templat"]})


def test_a_change_of_the_start_is_one_change(sim):
    before = from_starts(sim, "16 random tokens")
    after = from_starts(sim, "the card's template")
    count = before["trained"].sum()
    assert f"train: start 16 random tokens → the card's template ({count} cells)" in compare(before, after).changes


def test_what_learns_without_a_step_is_compared_with_every_protocol(sim):
    frame = sim.simulate(3, 6, 1)
    frame.loc[frame["method"] == "sce", ["train", "epochs", "lr", "preset"]] = ["{}", 0, None, ""]
    analysis = analyse(frame)
    assert "sce" in analysis.ranked
    assert ", 30 epochs from 16 random tokens" in sentences.setup(analysis)


def test_the_grid_of_missing_cells_is_a_grid(sim):
    frame = sim.simulate(2, 2, 1).replace({"arrows": "icons_arrows", "weather": "icons_weather"})
    parts = [
        trained(frame, f"{i}{lr}", lr=lr, **start) for i, start in enumerate(list(STARTS.values())[::2]) for lr in (0.002, 0.02)
    ]
    runs = cells.spread(sim.comparable(pd.concat(parts, ignore_index=True).iloc[1:]))
    asked = completeness.missing_grid(runs, completeness.missing(runs))
    toml = tomllib.loads(toml_text(asked))
    specs = expand(Grid.model_validate(toml))
    assert {(spec.train.ctx_init, spec.train.n_ctx) for spec in specs} == {("random", 16)}
    assert {spec.train.lr for spec in specs} == {0.002}


def test_names_can_be_swapped(sim):
    frame = sim.simulate(3, 6, 1)
    usual, swapped = analyse(frame), analyse(frame, Choices(names={"gce": "sce", "sce": "gce"}))
    assert swapped.scores["sce"].to_list() == usual.scores["gce"].to_list()


@pytest.mark.parametrize("as_given", [{"label": "category", "dataset": "category"}, {"accuracy": object}, {"accuracy": str}])
def test_a_frame_may_hold_its_columns_in_other_types(sim, as_given):
    frame = sim.simulate(2, 6, 1)
    pd.testing.assert_frame_equal(analyse(frame.astype(as_given)).versus, analyse(frame).versus)
