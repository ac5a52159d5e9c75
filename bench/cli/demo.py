"""`bench demo`: the main job on the embedded model and tasks, offline, in a few minutes."""

import importlib
import threading
import time
from pathlib import Path

import typer

from bench.cli.arguments import DEVICE, path_option
from bench.errors import SOME_FAILED
from bench.output import say, shown

# Fixed beforehand: the first two icon tasks by name, and two of another domain, where zero-shot is weak and tuning matters.
DATASETS = ("icons_animals_nature", "icons_arrows", "digits", "fashion_mnist")
METHODS = ("zero_shot", "coop_ce", "gce", "sce", "mae", "dspt")
RATES = (0.0, 0.375, 0.75)
SEEDS = (1, 2)


def demo(
    out: Path = path_option(Path("results/demo"), "--out", help="Where results and report go."),
    device: str = DEVICE,
) -> None:
    """Run a small grid and show its report. It needs no network and takes under 3 minutes on 2 cores."""
    from bench.cli.reporting import console
    from bench.grid import Grid, expand
    from bench.presets import PRESETS
    from bench.runner.run import run_grid

    grid = Grid(
        name="demo",
        preset="demo",
        methods=list(METHODS),
        datasets=list(DATASETS),
        noise={"symmetric": list(RATES)},
        seeds=list(SEEDS),
    )
    preset = ", ".join(f"{name} {value}" for name, value in PRESETS["demo"].model_dump().items() if value != "")
    say(f"grid: {len(METHODS)} methods × {len(DATASETS)} tasks × symmetric noise {RATES} × seeds {SEEDS}", err=True)
    say(f"preset demo: {preset}; 16 shots, 8 views; {len(expand(grid))} runs", err=True)
    started = time.perf_counter()
    threading.Thread(target=importlib.import_module, args=("reports.report",), daemon=True).start()  # while workers train
    summary = run_grid(grid, out, device=device)
    from bench.results.frame import load
    from reports import analyse, render
    from reports.report import write

    results = load(out)
    analysis = analyse(results.frame)
    made = write(results, analysis, out / "report")
    for table in made.tables[:2]:
        console().print(render.terminal(table))
    for line in made.headline[:2]:
        console().print(shown(line), markup=False, highlight=False)
    say(f"results: {out}\nreport:  {out / 'report' / 'report.html'}")
    say(f"took {time.perf_counter() - started:.0f} s", err=True)
    if summary.failed:
        raise typer.Exit(SOME_FAILED)
