"""What is stored of a run, declared once: the columns of a row, the history of its epochs, and the files beside its record.

The engine measures what is declared here (anything else is an error at once), the store checks against it, the frame and its Arrow
schema are made from it. A new column is one line; rows stored before it get its `absent` value.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 2  # of records, the index and exports; `bench.results.frame` reads all versions up to this one

# record: a field of the record; spec: read from its specification and versions; metric: measured when the run ends;
# last epoch: the last entry of the history of the same name
Origin = Literal["record", "spec", "metric", "last epoch"]


@dataclass(frozen=True)
class Column:
    """A column of the results: a value per run. Accuracies, errors and shares are percent, unless a line says otherwise."""

    name: str
    kind: type  # str, int, float, bool or bytes
    origin: Origin
    meaning: str
    absent: Any = None  # where nothing is stored of it
    limits: tuple[float, float] | None = None  # both are allowed
    in_frame: bool = True  # False: in the Arrow table alone


PERCENT, SHARE = (0.0, 100.0), (0.0, 1.0)
ANY = (0.0, 2.0**63)  # what the stored integers hold
FINITE = (0.0, sys.float_info.max)  # a diverged run's divergence from zero-shot is 1e34

COLUMNS = (
    Column("run_id", str, "record", "the cell and the versions of what computed it"),
    Column("cell_id", str, "record", "what was asked, as a digest"),
    Column("status", str, "record", "done or failed"),
    Column("source", str, "record", "run, or published: a number imported from a paper"),
    Column("method", str, "spec", "the method's registered name"),
    Column("params", str, "spec", "its hyper-parameters, as JSON", "{}"),
    Column("label", str, "record", "the method and its non-default hyper-parameters", ""),
    Column("oracle", str, "record", "rate or labels: what the method is told that nobody knows in practice; else missing"),
    Column("dataset", str, "spec", "the dataset's name"),
    Column("task", str, "spec", "digest of its class names, templates and split", ""),
    Column("domain", str, "record", "in or out: whether the backbone was trained on such images; missing where nobody says"),
    Column("backbone", str, "spec", "the backbone's name", ""),
    Column("noise", str, "spec", "the noise protocol; clean at rate 0"),
    Column("noise_digest", str, "record", "digest of the given labels: equal for runs that must have the same", ""),
    Column("preset", str, "record", "the training preset that the run equals, or the nearest and what differs", ""),
    Column("train", str, "spec", "the training protocol, as JSON", "{}"),
    Column("features", str, "spec", "version of the cached features", ""),
    Column("error", str, "record", "of a failure: the error's last line", ""),
    Column("schema_version", int, "record", "version of these columns"),
    Column("num_classes", int, "record", "classes; 0 where not known", 0, ANY),
    Column("num_test", int, "record", "test images; 0 where not known", 0, ANY),
    Column("views", int, "spec", "augmented views of each training image", 0, ANY),
    Column("shots", int, "spec", "training images per class; 0: all", 0, ANY),
    Column("seed", int, "spec", "seed; 0 where nothing is drawn, or of a published mean over seeds", 0, ANY),
    Column("epochs", int, "spec", "epochs of training", 0, ANY),
    Column("steps", int, "metric", "SGD steps", 0, ANY),
    Column("method_version", int, "spec", "version of the method", 0),
    Column("engine_version", int, "spec", "version of the engine", 0),
    Column("rate", float, "spec", "the share of labels that the protocol was asked to make wrong", 0.0, SHARE),
    Column("realised_rate", float, "metric", "the share of labels that are wrong", None, SHARE),
    Column("lr", float, "spec", "learning rate", None, FINITE),
    Column("accuracy", float, "metric", "test accuracy after the last epoch", None, PERCENT),
    Column("zero_shot", float, "metric", "test accuracy of the card's template", None, PERCENT),
    Column("ece", float, "metric", "expected calibration error on the test images", None, PERCENT),
    Column("val_noisy", float, "metric", "accuracy on validation shots that carry the same noise", None, PERCENT),
    Column("val_clean", float, "metric", "accuracy on validation shots with true labels", None, PERCENT),
    Column("train_given", float, "last epoch", "accuracy on the training images, by their given labels", None, PERCENT),
    Column("train_true", float, "last epoch", "accuracy on the training images, by their true labels", None, PERCENT),
    Column("belief_precision", float, "last epoch", "how many of those believed clean are clean", None, PERCENT),
    Column("belief_recall", float, "last epoch", "how many of the clean are believed clean", None, PERCENT),
    Column("belief_auroc", float, "last epoch", "how well the belief ranks clean before mislabelled", None, PERCENT),
    Column("wall_seconds", float, "metric", "seconds of training: its own and a share of its stack's tower", None, FINITE),
    Column("steps_per_second", float, "metric", "steps by wall_seconds", None, FINITE),
    Column("identifiable", bool, "record", "whether the true class is still the most frequent among the given labels"),
    Column("trained", bool, "spec", "whether anything is learned from the shots; taken for granted of published numbers"),
    Column("method_title", str, "record", "the method's name as papers write it"),
    Column("tunes", str, "record", "what is learned: prompt, or another part of the model", "prompt"),
    Column("citation", str, "record", "where a published number is from", ""),
    Column("start", float, "metric", "test accuracy before the first step", None, PERCENT),
    Column("zero_shot_agreement", float, "metric", "test images that get the class that the card's template gives", None, PERCENT),
    Column("zero_shot_kl", float, "metric", "mean KL divergence from the template's class probabilities, in nats", None, FINITE),
    Column("record", str, "record", "digest of the record that the row was made from", "", in_frame=False),
    Column("history", str, "record", "what was measured after epochs, as JSON: a list per name of HISTORY", "{}", in_frame=False),
    Column("environment", str, "record", "the machine and libraries, as JSON", "{}", in_frame=False),
    Column("predictions", bytes, "record", "the predicted class of every test image, uint16", in_frame=False),
)
METRICS = tuple(column.name for column in COLUMNS if column.origin in ("metric", "last epoch"))
LAST_EPOCH = tuple(column.name for column in COLUMNS if column.origin == "last epoch")

HISTORY = {
    "epoch": "the epoch, from 0",
    "lr": "learning rate",
    "loss": "mean training loss",
    "accuracy": "test accuracy",
    "ece": "expected calibration error on the test images",
    "grad_clean": "norm of the gradient's part from correctly labelled samples, first step of the epoch",
    "grad_noisy": "norm of the part from mislabelled samples",
    **{column.name: column.meaning for column in COLUMNS if column.origin == "last epoch"},
}
FILES = {
    "predictions.npy": "the predicted class of every test image, uint16",
    "context.safetensors": "the learned context tokens, where they are kept",
}


def check_row(row: Mapping[str, Any]) -> None:
    """Whether a row's values have their columns' types and lie within their limits; a missing value is None.

    Raises:
        ValueError: One has not.
    """
    for column in COLUMNS:
        value: Any = row[column.name]
        if value is None:
            continue
        fits = type(value) is column.kind or (column.kind is float and type(value) is int)
        if not fits:
            raise ValueError(f"{column.name} = {value!r} is not of type {column.kind.__name__}")
        if column.limits and not column.limits[0] <= value <= column.limits[1]:
            raise ValueError(f"{column.name} = {value!r} is outside [{column.limits[0]:g}, {column.limits[1]:g}]")


def check_declared(metrics: Iterable[str], history: Iterable[str]) -> None:
    """Whether every measurement has its line in this file.

    Raises:
        ValueError: One has not, so it would be stored nowhere.
    """
    for names, known, table in ((metrics, METRICS, "COLUMNS"), (history, HISTORY, "HISTORY")):
        for name in names:
            if name not in known:
                raise ValueError(f"'{name}' is measured, but bench/results/schema.py declares no such name in {table}")
