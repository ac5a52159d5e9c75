"""One's own runs beside the numbers in print; and the printed numbers that come with the suite."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bench.engine.outcome import Outcome
from bench.errors import BenchError
from bench.grid import Grid
from bench.plan import make_plan
from bench.results.exchange import import_published
from bench.results.frame import load
from bench.results.store import Store
from bench.runner.record import build_record
from bench.spec import TrainSpec
from reports import reproduction, statistics
from reports.render import terminal

RESULTS = Path(__file__).parents[2] / "results"
PRINTED = RESULTS / "published" / "label_noise.csv"
SETTING = {
    "method_title": "GCE", "label": "gce(q=0.5)", "dataset": "dtd", "backbone": "RN50@openai", "shots": 16, "noise": "fp_symmetric",
    "rate": 0.5, "tunes": "prompt", "epochs": 50, "views": 8, "train": "{}", "status": "done",
}  # fmt: skip


def runs(*accuracies, **changed):
    rows = [
        {**SETTING, "source": "run", "seed": seed, "accuracy": a, "citation": "", **changed} for seed, a in enumerate(accuracies, 1)
    ]
    return pd.DataFrame(rows)


def printed(accuracy, **changed):
    given = {"source": "published", "seed": 0, "noise": "symmetric", "label": "GCE", "views": 0, "epochs": 0, "citation": "A paper"}
    return pd.DataFrame([{**SETTING, **given, "accuracy": accuracy, **changed}])


def test_difference_interval_and_suspects():
    found = reproduction.beside_print(pd.concat([runs(60.0, 62.0, 64.0), printed(58.0, epochs=200)]))
    assert len(found) == 1
    row = found.iloc[0]
    assert (row["ours"], row["printed"], row["difference"], row["seeds"]) == (62, 58, 4, 3)
    low, high = stats.t.interval(0.95, 2, 62, stats.sem([60, 62, 64]))
    assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
    assert row["differs"] == (
        "epochs: 50, in print 200; views: 8 in turn, in print a fresh crop per epoch; noise: fp_symmetric, in print symmetric"
    )
    assert "gce(q=0.5), dtd" in str([cell for cell, _ in reproduction.reproduction_table(found).rows])
    assert terminal(reproduction.reproduction_table(found)).row_count == 1


def test_one_seed_has_no_interval_and_protocols_stay_apart():
    alike = {"noise": "symmetric", "views": 50}
    own = pd.concat([runs(60.0, **alike), runs(70.0, 71.0, **alike, train='{"lr":0.1}')])
    found = reproduction.beside_print(pd.concat([own, printed(61.0, epochs=50)])).set_index("seeds")
    assert found["difference"].to_dict() == {1: -1.0, 2: 9.5}
    assert np.isnan(found.loc[1, "low"])
    assert found["differs"].to_dict() == {1: "nothing that print states", 2: "lr: 0.1, CoOp's 0.002"}


def test_the_start_is_a_suspect():
    train = TrainSpec(epochs=50, ctx_init="template", n_ctx=0).model_dump_json()
    own = runs(60.0, noise="symmetric", views=50, train=train)
    (differs,) = reproduction.beside_print(pd.concat([own, printed(61.0, epochs=50)]))["differs"]
    assert differs == "ctx_init: template, CoOp's random; n_ctx: 0, CoOp's 16"


@pytest.mark.parametrize(
    "changed", [{"rate": 0.25}, {"backbone": "ViT-B-16@openai"}, {"shots": 8}, {"noise": "pairflip"}, {"status": "failed"}]
)
def test_another_setting_is_not_compared(changed):
    with pytest.raises(BenchError, match="no run here has"):
        reproduction.beside_print(pd.concat([runs(60.0, **changed), printed(58.0)]))


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A store with three seeds of GCE on an embedded task, as runs leave them."""
    store = Store(tmp_path_factory.mktemp("own") / "results")
    store.prepare()
    cells = make_plan(Grid(methods=["gce"], datasets=["digits"], noise={"symmetric": [0.5]}, views=2), store).runs
    for cell, accuracy in zip(cells, (60.0, 62.0, 64.0), strict=True):
        store.write(build_record(cell, Outcome(cell.spec, "done", {"accuracy": accuracy}), {}))
    return store.root


def papers(path, *rows):
    path.write_text("method,dataset,backbone,shots,noise,rate,accuracy,epochs,citation\n" + "\n".join(rows) + "\n")
    return path


def test_the_command_sets_imported_numbers_beside_ones_own(own, run, tmp_path):
    rows = "GCE,digits,embedded,16,symmetric,0.5,58.5,200,A paper", "GCE,digits,embedded,16,symmetric,0.25,70,,A paper"
    assert run("import", papers(tmp_path / "papers.csv", *rows), own)[0] == 0
    code, out, _ = run("reproduce", own, "--json")
    (row,) = json.loads(out)
    assert code == 0
    assert (row["ours"], row["printed"], row["difference"], row["seeds"]) == (62, 58.5, 3.5, 3)
    assert row["low"] == pytest.approx(62 - stats.t.ppf(0.975, 2) * 2 / np.sqrt(3))
    assert row["differs"] == "epochs: 50, in print 200; views: 2 in turn, in print a fresh crop per epoch"
    code, out, _ = run("reproduce", own)
    assert code == 0
    assert "+3.5" in out.replace("\n", "")
    code, _, err = run("reproduce", own, "--where", "dataset=dtd")
    assert (code, "no run" in err) == (2, True)


def test_the_command_says_what_is_missing(run, tmp_path):
    code, _, err = run("reproduce", tmp_path / "nowhere")
    assert (code, "no results in" in err) == (2, True)
    assert (
        run("import", papers(tmp_path / "papers.csv", "GCE,digits,embedded,16,symmetric,0.5,58.5,,A paper"), tmp_path / "r")[0] == 0
    )
    code, _, err = run("reproduce", tmp_path / "r")
    assert (code, "no run here has the method" in err, "bench import" in err) == (2, True, True)
    code, _, err = run("import", papers(tmp_path / "bad.csv", "GCE,digits,embedded,16,symmetric,0.5,many,,A paper"), tmp_path / "b")
    assert (code, "line 2" in err, (tmp_path / "b").exists()) == (2, True, False)


def test_the_printed_numbers_keep_their_sources(tmp_path):
    assert import_published(PRINTED, tmp_path) == 472
    frame = load(tmp_path).frame
    with PRINTED.open(encoding="utf-8") as file:
        given = {
            (r["method"], r["dataset"], r["noise"], float(r["rate"]), r["epochs"]): r["citation"] for r in csv.DictReader(file)
        }
    for row in frame.itertuples():
        assert row.citation == given[row.method, row.dataset, row.noise, row.rate, str(row.epochs or "")]


def test_who_differs_from_gce_in_print():
    """results/README's table."""
    table = pd.read_csv(PRINTED)
    table = table[(table["noise"] == "symmetric") & table["method"].isin(["CoOp", "GCE", "NLPrompt", "TecoPrompt"])]
    cells = table.pivot_table(index=["dataset", "rate"], columns="method", values="accuracy").dropna()
    found = statistics.against_control(cells.groupby("dataset").mean(), "GCE").round(3)
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    for label, row in found.iterrows():
        p, holm = (f"{row[name]:.3f}".removeprefix("0") for name in ("p", "p_holm"))
        record = f"{row['wins']:.0f}/{row['ties']:.0f}/{row['losses']:.0f}"
        assert f"| {label} | {row['difference']:+.2f} | {p} | {holm} | {record} |" in text
