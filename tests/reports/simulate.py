"""Simulated results, in the store's own schema. Nothing here was measured: figures made from it must say so.

python tests/reports/simulate.py OUT.parquet [methods] [datasets] [seeds]
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.results.frame import COLUMNS, SCHEMA, Results
from reports import cells, labels

METHODS = [
    "coop_ce",
    "gce",
    "sce",
    "mae",
    "dspt",
    "label_smoothing",
    "bootstrap_soft",
    "rce",
    "nce_rce",
    "nce_mae",
    "agce",
    "phuber_ce",
    "taylor_ce",
    "js",
    "gjs",
    "elr",
    "mixup",
    "co_teaching",
    "joapr",
    "nlprompt",
    "deft_text",
    "clipcleaner",
    "mae_lse",
    "dspt_t",
    "clean_only",
]
DATASETS = [
    "arrows",
    "weather",
    "animals",
    "food",
    "sport",
    "vehicles",
    "tools",
    "music",
    "flags",
    "faces",
    "plants",
    "buildings",
    "digits",
    "fashion",
    "letters",
    "emoji",
]
BELIEVERS = ("joapr", "nlprompt", "co_teaching", "clipcleaner", "deft_text", "clean_only")
NOISE = (("clean", 0.0), ("symmetric", 0.25), ("symmetric", 0.5), ("symmetric", 0.75), ("pairflip", 0.25))
TRAIN = {"epochs": 30, "lr": 0.002, "batch_size": 32, "precision": "fp32"}
CONSTANT = {
    "params": "{}", "status": "done", "source": "run", "schema_version": 2, "backbone": "embedded", "engine_version": 1,
    "method_version": 1, "features": "f0", "num_test": 400, "num_classes": 20, "ece": 5.0,
    "tunes": "prompt", "citation": "", "error": "", "noise_digest": "",
}  # fmt: skip
TRAINED = {
    "shots": 16,
    "views": 8,
    "epochs": 30,
    "preset": "embedded",
    "train_given": 60.0,
    "train_true": 70.0,
    "wall_seconds": 4.0,
    "steps": 300,
    "trained": True,
}
UNTRAINED = {"shots": 0, "views": 0, "epochs": 0, "noise": "clean", "rate": 0.0, "seed": 0, "train": "{}", "identifiable": True,
             "trained": False}  # fmt: skip


def default_gain(m, rate):
    """Robust methods gain with the rate, some more than others."""
    return 0.0 if m == 0 else 14 * rate * (1 - 0.9 * (m * 7 % 13) / 13) - 0.3 * (m % 4)


def simulate(methods=5, datasets=6, seeds=3, noise=NOISE, effects=None, spread=1.5, seed_sd=0.8, lrs=(0.002,), rng=0):
    """A frame of finished runs: dataset level - noise + method's gain + method × dataset (SD `spread`) + seed (SD `seed_sd`).

    Args:
        effects: Points by which a method is better than coop_ce at every rate; by default robust methods gain with the rate.
    """
    rng = np.random.default_rng(rng)
    names, sets = METHODS[:methods], DATASETS[:datasets]
    level, slope = rng.uniform(45, 80, datasets), rng.uniform(18, 34, datasets)
    own = rng.normal(0, spread, (methods, datasets))
    shared = rng.normal(0, 0.5, (datasets, len(noise), seeds))
    rows = []
    for (m, name), (d, dataset), (k, (protocol, rate)), s, lr in itertools.product(
        enumerate(names), enumerate(sets), enumerate(noise), range(seeds), lrs
    ):
        gain = default_gain(m, rate) if effects is None else effects.get(name, 0.0)
        accuracy = level[d] + 6 - slope[d] * rate**1.5 + gain + own[m, d] + shared[d, k, s] + rng.normal(0, seed_sd)
        accuracy = float(np.clip(accuracy - 4 * np.log10(lr / 0.002) ** 2, 1, 99))
        belief = {"belief_precision": 90 - 30 * rate - m % 5, "belief_recall": 95 - 40 * rate - m, "belief_auroc": 95 - 20 * rate}
        rows.append({
            **TRAINED, "label": name, "method": name, "method_title": name, "dataset": dataset, "start": level[d] - 1,
            "noise_digest": f"{dataset} {protocol} {rate} {s}", "zero_shot_agreement": 70 - m % 7,
            "noise": protocol, "rate": rate, "realised_rate": rate,
            "seed": s + 1, "accuracy": accuracy, "zero_shot": level[d], "lr": lr, "train": json.dumps(TRAIN | {"lr": lr}),
            "identifiable": not (protocol == "pairflip" and rate >= 0.5), "oracle": "labels" if name == "clean_only" else None,
            "val_noisy": accuracy * (1 - rate), "val_clean": accuracy, **(belief if name in BELIEVERS else {}),
        })  # fmt: skip
    for dataset, accuracy in zip(sets, level, strict=True):
        zero_shot = {
            "label": "zero_shot",
            "method": "zero_shot",
            "method_title": "zero_shot",
            "dataset": dataset,
            "accuracy": accuracy,
            "zero_shot": accuracy,
        }
        rows.append(UNTRAINED | zero_shot)
    frame = pd.DataFrame([CONSTANT | row for row in rows])
    frame["cell_id"] = [f"{i:016x}" for i in range(len(frame))]
    frame["run_id"] = [f"{i:015x}r" for i in range(len(frame))]
    frame["method_title"] = frame["method"]
    frame["task"] = frame["dataset"] + "-v1"
    frame["domain"] = np.where(frame["dataset"].isin(DATASETS[12:]), "out", "in")
    return frame.reindex(columns=list(COLUMNS))


def comparable(frame):
    """The frame's runs as reports compare them."""
    return cells.comparable(labels.labelled(frame))


def curves(row, epochs=30):
    """A made-up history of one run."""
    t = np.arange(1, epochs + 1) / epochs
    speed = 1 + (len(row.label) % 5) / 4
    history = {
        "epoch": np.arange(epochs), "loss": 2 - t, "lr": np.full(epochs, 0.002), "ece": np.full(epochs, 5.0),
        "accuracy": row.zero_shot + (row.accuracy - row.zero_shot) * t**0.5, "train_given": 40 + 30 * t**speed,
        "train_true": 60 + 20 * t - 18 * row.rate * t**2 * speed, "grad_clean": 1.2 - t,
        "grad_noisy": row.rate * (0.2 + 0.6 * t * speed) + 1e-3,
    }  # fmt: skip
    return json.dumps({name: np.round(values, 4).tolist() for name, values in history.items()})


def as_results(frame, history=True):
    """The frame as loaded results, with histories."""
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    texts = ["{}" if not history or row.epochs == 0 else curves(row) for row in frame.itertuples()]
    environment = json.dumps({"python": "3.11", "torch": "2.9", "simulated": True})
    rows = [row | {"history": text, "environment": environment} for row, text in zip(rows, texts, strict=True)]
    return Results(frame, pa.Table.from_pylist(rows, SCHEMA))


if __name__ == "__main__":
    out, *counts = sys.argv[1:]
    pq.write_table(as_results(simulate(*map(int, counts))).table, Path(out), compression="zstd")
