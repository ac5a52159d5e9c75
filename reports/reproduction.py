"""A user's runs beside the numbers in print, setting by setting, and what in the protocols may explain a gap."""

import json

import numpy as np
import pandas as pd

from bench.errors import BenchError
from bench.spec import TrainSpec
from reports import cells, statistics
from reports.tables import Entry, Table
from reports.wording import value

SETTING = ["method_title", "dataset", "backbone", "shots", "family", "rate"]
PROTOCOL = ["label", "tunes", "noise", "epochs", "views", "train"]  # of a run; those of one protocol differ by their seeds alone


def beside_print(frame: pd.DataFrame) -> pd.DataFrame:
    """Each published number with the runs of its method, dataset, backbone, shots, kind of noise and rate.

    Args:
        frame: Results that hold runs and imported numbers, one row per run.

    Returns:
        A row per number and protocol of one's own: `ours` (mean over seeds), `low` and `high` (its 95 % t interval, missing for one
        seed), `seeds`, `printed`, `difference` (ours minus printed), `differs` (sentence) and `citation`.

    Raises:
        BenchError: No run has the setting of a published number.
    """
    frame = frame.assign(family=frame["noise"].str.removeprefix("fp_").str.removesuffix("_with_self"))
    own = frame[(frame["source"] == "run") & (frame["status"] == "done")]
    ours = (
        own.groupby([*SETTING, *PROTOCOL], dropna=False)["accuracy"].agg(ours="mean", seeds="count", deviation="std").reset_index()
    )
    printed = frame.loc[frame["source"] == "published", [*SETTING, "noise", "epochs", "accuracy", "citation"]]
    both = ours.merge(printed.rename(columns={"accuracy": "printed"}), on=SETTING, suffixes=("", "_printed"))
    if both.empty:
        raise BenchError(
            "no run here has the method, dataset, backbone, shots, noise and rate of a published number.",
            "`bench import results/published/label_noise.csv RESULTS` adds those that come with the suite.",
        )
    half = statistics.t_reach(both["seeds"].clip(lower=2)) * both["deviation"] / np.sqrt(both["seeds"])
    return both.assign(
        low=both["ours"] - half,
        high=both["ours"] + half,
        difference=both["ours"] - both["printed"],
        differs=[_differs(row) for _, row in both.iterrows()],
    ).sort_values("difference", key=abs, ascending=False, ignore_index=True)


def _differs(row: "pd.Series") -> str:
    """What in the protocols differs between a run and a number in print, and from CoOp's, which papers take."""
    found = []
    if not row["epochs_printed"]:
        found.append(f"epochs: {row['epochs']}, not printed")
    elif row["epochs_printed"] != row["epochs"]:
        found.append(f"epochs: {row['epochs']}, in print {row['epochs_printed']}")
    if row["views"] < row["epochs"]:
        found.append(f"views: {row['views']} in turn, in print a fresh crop per epoch")
    if row["noise"] != row["noise_printed"]:
        found.append(f"noise: {row['noise']}, in print {row['noise_printed']}")
    if row["tunes"] != "prompt":
        found.append(f"tunes: {row['tunes']}, in print a prompt")
    usual = TrainSpec().model_dump()  # what the papers take from CoOp (`bench.presets`): start, learning rate, …
    own = json.loads(row["train"] or "{}")
    found += [f"{name}: {own[name]}, CoOp's {usual[name]}" for name in own if name != "epochs" and own[name] != usual[name]]
    return "; ".join(found) or "nothing that print states"


def reproduction_table(found: pd.DataFrame) -> Table:
    """`beside_print` as a table, largest difference first."""
    rows = []
    for _, row in found.iterrows():
        name = f"{row['label']}, {row['dataset']}, {cells.setting_name(row['noise'], row['rate'])}"
        interval = "–" if np.isnan(row["low"]) else f"{value(row['low'])} to {value(row['high'])}"
        numbers = [value(row["ours"]), interval, str(row["seeds"]), value(row["printed"]), value(row["difference"], signed=True)]
        rows.append((name, [Entry(text) for text in (*numbers, row["differs"])]))
    caption = (
        "Accuracy in percent. The interval is a t interval over one's own seeds, all that is known of the spread. "
        f"{'; '.join(sorted(set(found['citation'])))}"
    )
    columns = ["ours", "95 % interval", "seeds", "printed", "difference", "what differs"]
    return Table("reproduction", "Beside the numbers in print", caption, columns, rows, found)
