"""What the runner costs beyond training: python tests/runner/overhead.py [RUNS]. Prints milliseconds per run; asserts nothing.

Runs are no-ops of `fake_engine` with predictions for 2,000 test images and 50 epochs of history, so planning, storing, supervising
and indexing is all there is.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import fake_engine
from conftest import make_dataset

from bench import results
from bench.grid import Grid
from bench.plan import make_plan
from bench.results.store import Store
from bench.runner.run import run_grid


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "results"
        cards = [str(make_dataset(Path(folder), name)) for name in ("alpha", "beta")]
        grid = Grid(name="overhead", preset="demo", methods=["coop_ce", "gce", "mae", "sce", "dspt"], datasets=cards,
                    noise={"symmetric": [0.25]}, views=2, shots=[2], seeds=list(range(count // 10)))  # fmt: skip
        make_plan(grid.model_copy(update={"seeds": [1]}), Store(root))  # imports and caches
        report("plan", count, lambda: make_plan(grid, Store(root)))
        report("run, 1 worker: supervise, record and store", count,
               lambda: run_grid(grid, root, workers=1, style="quiet", train=partial(fake_engine.long, 2000, 50)))  # fmt: skip
        report("first index", count, lambda: results.load(root))
        report("load through the index", count, lambda: results.load(root))
        report("plan of a finished grid", count, lambda: make_plan(grid, Store(root)))
        print(f"{'store on disk':45} {sum(path.stat().st_size for path in root.rglob('*')) / count / 1024:8.1f} KiB per run")


def report(what: str, count: int, action) -> None:
    started = time.perf_counter()
    action()
    seconds = time.perf_counter() - started
    print(f"{what:45} {seconds:8.2f} s   {1000 * seconds / count:7.3f} ms per run", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
