"""Engines for tests of the runner: outcomes that follow from the specification, and trouble where a file asks for it.

`troubled` reads the trouble from a file that maps seeds to kinds: {"2": "exit"}.
"""

import ctypes
import json
import os
import time
from pathlib import Path

import numpy as np

from bench.engine.outcome import Outcome, stack_key


def outcome(spec) -> Outcome:
    accuracy = int(spec.cell_id[:6], 16) % 10_000 / 100
    return Outcome(
        spec,
        "done",
        metrics={"accuracy": accuracy, "zero_shot": 40.0, "steps": 30, "ece": float("nan")},
        history={"epoch": [1, 2], "loss": [1.5, np.float32(0.5)], "accuracy": [accuracy, accuracy]},
        noise_digest="0" * 16,
        predictions=np.arange(18, dtype=np.uint16) % 3,
        context=np.ones((1, 2, 4), dtype=np.float32),
    )


def train(specs, *, device="auto", keep_context=False, max_stack=None, processes=1, progress=None):
    """A well-behaved engine."""
    outcomes = []
    for spec in specs:
        outcomes.append(outcome(spec))
        progress(30)
    return outcomes


def slow(specs, **options):
    time.sleep(0.2)
    return train(specs, **options)


def once(path: Path) -> None:
    path.write_text("{}")
    os.kill(os.getpid(), 9)


def raises(error: BaseException) -> None:
    raise error


def orphan(path: Path, escapes: bool) -> None:
    """Die, and leave a child that holds whatever this process has open."""
    child = os.fork()
    if child == 0:
        if escapes:
            os.setsid()
        time.sleep(1000)
    with path.with_name("orphans").open("a") as file:
        file.write(f"{child}\n")
    os._exit(3)


def line(_: Path) -> None:
    os.write(2, b"x" * 50_000_000)
    os._exit(3)


TROUBLES = {
    "exit": lambda _: os._exit(3),
    "once": once,
    "kill": lambda _: os.kill(os.getpid(), 9),
    "hang": lambda _: time.sleep(1000),
    "raise": lambda _: raises(MemoryError("the stack does not fit")),
    "leave": lambda _: raises(SystemExit(0)),
    "segfault": lambda _: ctypes.string_at(0),
    "orphan": lambda path: orphan(path, escapes=False),
    "escaped orphan": lambda path: orphan(path, escapes=True),
    "line": line,
}


def troubled(path: Path, specs, **options):
    """Runs of the seeds that the file names make trouble, each in its way."""
    for spec in specs:
        if trouble := TROUBLES.get(json.loads(path.read_text()).get(str(spec.seed), "")):
            trouble(path)
    outcomes = train(specs, **options)
    for item in outcomes:
        kind = json.loads(path.read_text()).get(str(item.spec.seed))
        if kind in {"failed", "long error"}:
            error = "NaN loss" if kind == "failed" else "x" * 50_000_000
            item.status, item.error, item.traceback, item.predictions = "failed", error, f"Traceback … {error}", None
    return outcomes


methods_seen: set[str] = set()


def spoiled(specs, **options):
    """After gce's code has run in a process, every other method fails there."""
    methods_seen.update(spec.method.name for spec in specs)
    outcomes = train(specs, **options)
    for item in outcomes:
        if "gce" in methods_seen and item.spec.method.name != "gce":
            item.status, item.error, item.predictions = "failed", "gradients are off", None
    return outcomes


def removes(root: Path, seconds: float, specs, **options):
    """Somebody deletes the results folder meanwhile; training goes on for a while."""
    import shutil

    shutil.rmtree(root)
    time.sleep(seconds)
    return train(specs, **options)


def full_disk(specs, **options):
    """From here on this process cannot write files beyond 100 bytes, as on a full disk."""
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    return train(specs, **options)


def long(images: int, epochs: int, specs, **options):
    """No-op runs whose records are as long as real ones."""
    outcomes = train(specs, **options)
    for item in outcomes:
        names = ("loss", "accuracy", "train_given", "train_true", "grad_clean", "grad_noisy", "lr")
        item.history = {"epoch": list(range(epochs)), **{name: np.random.default_rng(0).random(epochs).tolist() for name in names}}
        item.predictions = np.zeros(images, dtype=np.uint16)
    return outcomes


def one_key(specs, **options):
    """As strict as the real engine: what cannot stack is refused."""
    if len({stack_key(spec) for spec in specs}) > 1:
        os._exit(1)
    return train(specs, **options)


def telling(specs, **options):
    """Says where the worker is, in a file beside the results."""
    Path("told.json").write_text(
        json.dumps([str(Path.cwd()), {name: os.environ[name] for name in os.environ if name[:6] == "BENCH_"}])
    )
    return train(specs, **options)
