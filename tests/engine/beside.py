"""The engine beside that of another checkout: python tests/engine/beside.py PATH [TURNS]. Prints ratios; asserts nothing.

One process for each, on one thread, which train the same stacks in turns: the demo's losses, and all methods that both know, on the
embedded tower from 16 random context tokens, as every run of older releases starts. Time is the process's own CPU time. A process
holds on to freed memory if its release's workers do.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

STACKS = {
    "demo": {"noise": {"symmetric": [0.0, 0.25, 0.5]}, "seeds": [1, 2], "train": {"epochs": 6}},
    "all methods": {"noise": {"symmetric": [0.5]}, "seeds": [1], "train": {"epochs": 10}},
}
DEMO = ["coop_ce", "gce", "sce", "dspt", "mae"]
APART = {"zero_shot", "tip_adapter"}  # train nothing


def train() -> None:
    """One side: tells its methods, then trains the stack whose name and methods each line holds, and tells ms per run-step."""
    import torch

    from bench.engine.train import train_stack
    from bench.grid import Grid, expand
    from bench.spec import TrainSpec
    from methods import registry

    try:
        from bench.machine import keep_freed_memory

        keep_freed_memory()
    except ImportError:
        pass
    torch.set_num_threads(1)
    start = {"ctx_init": "random", "n_ctx": 16} if "ctx_words" in TrainSpec.model_fields else {}
    print(json.dumps(registry.names()), flush=True)
    for line in sys.stdin:
        stack, methods = json.loads(line)
        layout = STACKS[stack] | {"train": STACKS[stack]["train"] | start}
        runs = expand(Grid(name="beside", preset="embedded", datasets=["icons_arrows"], methods=methods, **layout))
        steps: list[int] = []
        started = time.process_time()
        runs = [run for run in runs if run.train]
        (outcome, *_) = train_stack(runs, device="cpu", keep_context=True, progress=steps.append)
        assert outcome.context is not None
        assert outcome.context.shape[1] == 16, outcome.context.shape
        print(1000 * (time.process_time() - started) / sum(steps), flush=True)


class Side:
    """A process that imports bench and methods from a checkout."""

    def __init__(self, checkout: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).resolve()), "train"]
        self.process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.methods = set(self.told())

    def told(self):
        return json.loads(self.process.stdout.readline())

    def time(self, stack: str, methods: list[str]) -> float:
        print(json.dumps([stack, methods]), file=self.process.stdin, flush=True)
        return self.told()


def main(other: Path, turns: int) -> None:
    before, now = sides = Side(other), Side(Path(__file__).resolve().parents[2])
    for stack in STACKS:
        methods = DEMO if stack == "demo" else sorted((before.methods & now.methods) - APART)
        for side in sides:
            side.time(stack, methods)  # a warm-up: files are read, the paths compared
        times = [(before.time(stack, methods), now.time(stack, methods)) for _ in range(turns)]
        ratios = sorted(old / new for old, new in times)
        print(f"{stack} ({len(methods)} methods), ms of CPU time per run-step, there and here:",
              ", ".join(f"{old:.2f} {new:.2f}" for old, new in times))  # fmt: skip
        print(f"  {statistics.median(ratios):.2f} times faster ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["train"]:
        train()
    elif len(sys.argv) in (2, 3) and Path(sys.argv[1], "bench").is_dir():
        main(Path(sys.argv[1]).resolve(), int((*sys.argv, 5)[2]))
    else:
        sys.exit("usage: python tests/engine/beside.py PATH [TURNS]; PATH is another checkout of this repository")
