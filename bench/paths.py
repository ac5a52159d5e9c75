"""Where the suite's own data and the user's results lie: in a checkout and in an installed wheel alike."""

import os
from pathlib import Path

from bench.files import resolved

PACKAGE = Path(__file__).resolve().parent


def datasets_root() -> Path:
    """The folder of dataset cards and embedded data.

    A checkout keeps it beside the package; the wheel carries it inside (pyproject.toml, force-include).
    """
    beside = PACKAGE.parent / "datasets"
    return beside if (beside / "embedded").is_dir() else PACKAGE / "_datasets"


def features_root() -> Path:
    """Where extracted features of the user's own datasets are cached: $BENCH_FEATURES, else ~/.cache/noisy-prompt-bench."""
    return resolved(os.environ.get("BENCH_FEATURES") or "~/.cache/noisy-prompt-bench/features")


def data_root() -> Path | None:
    """The folder that holds the user's datasets as CoOp lays them out: $BENCH_DATA, or None where it is not set."""
    given = os.environ.get("BENCH_DATA")
    return resolved(given) if given else None
