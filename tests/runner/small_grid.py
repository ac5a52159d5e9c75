"""A runner in a process of its own: python small_grid.py CARDS RESULTS ENGINE TROUBLE. Prints done and cached runs."""

import signal
import sys
from functools import partial
from pathlib import Path

import fake_engine

from bench.grid import Grid
from bench.runner import forks
from bench.runner.run import run_grid

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts the tests in the background has it ignored
    forks.PRELOAD.remove("bench.engine.train")  # its imports take seconds, and the engine is another one here
    cards, results, engine, trouble = sys.argv[1:]
    grid = Grid(
        name="small",
        preset="demo",
        methods=["coop_ce", "gce", "zero_shot"],
        datasets=[str(path) for path in sorted(Path(cards).glob("*.toml"))],
        noise={"symmetric": [0.0, 0.5]},
        views=2,
        shots=[2],
        seeds=[1, 2],
    )
    train = getattr(fake_engine, engine)
    try:
        train = partial(train, Path(trouble)) if trouble else train
        summary = run_grid(grid, Path(results), train=train, device="cpu", workers=1, stack=4, style="quiet")  # "auto" asks torch
    except KeyboardInterrupt:
        sys.exit(130)
    print(summary.done, summary.cached)
