"""A worker process: trains one shard after another and stores each run itself.

Messages to the supervisor are tuples: ("ready",), ("steps", n), ("run", run_id, status, title, error, folder),
("again", run_ids, error), ("shard", error or ""), ("fatal", BenchError's message, hint, code). "shard" ends a shard; with an error
the stack failed as a whole and the worker ends. "again" hands back runs that failed in a process where other methods' code had run:
it may have spoiled them, so the worker ends, and only what fails in a fresh one, without other methods, is recorded as failed.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from bench.engine.outcome import Outcome
from bench.errors import ENVIRONMENT, BenchError
from bench.machine import keep_freed_memory
from bench.plan import PlannedRun, source_of
from bench.results.store import Record, Store
from bench.runner.record import brief, build_record, environment, files_of

Send = Callable[[tuple[Any, ...]], None]
Train = Callable[..., list[Outcome]]


def _settings() -> dict[str, str]:
    """The environment variables that are this suite's own."""
    return {name: value for name, value in os.environ.items() if name.startswith("BENCH_")}


@dataclass(frozen=True)
class Work:
    """What all shards of a worker share; also where the supervisor is, which the server that forks workers may have been before."""

    root: Path
    device: str
    threads: int
    processes: int = 1  # workers on this device
    plugins: tuple[Path, ...] = ()
    keep_context: bool = False
    log: str = ""  # relative to the store
    train: Train | None = None  # in place of the engine's `train_stack`, for tests
    folder: Path = field(default_factory=Path.cwd)
    settings: dict[str, str] = field(default_factory=_settings)


def main(pipe: "connection.Connection[Any, Any]", work: Work) -> None:
    """A worker's life: shards come through the pipe, messages go back; None ends it."""
    _prepare(work)
    send: Send = pipe.send
    send(("ready",))
    methods: set[str] = set()  # whose code has run in this process
    while (runs := pipe.recv()) is not None:
        if changed := _changed([run for run in runs if run.spec.method.name not in methods]):
            hint = "Start again: what is stored is kept, and the changed method is planned anew."
            send(("fatal", f"the source of method '{changed}' has changed since the plan was made.", hint, ENVIRONMENT))
            return
        methods |= {run.spec.method.name for run in runs}
        try:
            outcomes = train_shard(runs, work, send)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a method or a device raises
            traceback.print_exc()
            text = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
            text = brief(text)
            if len(runs) > 1:
                send(("shard", text))
                return  # a fresh process has the whole memory again
            outcomes = [Outcome(runs[0].spec, "failed", error=text, traceback=traceback.format_exc())]
        ended = list(zip(runs, outcomes, strict=True))
        spoiled = [(run, outcome) for run, outcome in ended if outcome.status == "failed" and len(methods) > 1]
        kept = [pair for pair in ended if pair not in spoiled]
        try:
            store_outcomes(Store(work.root), [run for run, _ in kept], [outcome for _, outcome in kept], work, send)
        except BenchError as error:
            send(("fatal", error.message, error.hint, error.code))
            return
        if spoiled:
            send(("again", [run.run_id for run, _ in spoiled], brief(spoiled[0][1].error)))
            return
        send(("shard", ""))


def _changed(runs: Sequence[PlannedRun]) -> str:
    """A method whose files are no longer those of the plan, as this process has loaded them since; "" where all are."""
    one_each = {run.spec.method.name: run for run in runs if "source" in run.versions}
    with contextlib.suppress(LookupError):  # one that no plugin of this process registers says so when it trains
        return next((name for name, run in one_each.items() if source_of(run.spec) != run.versions["source"]), "")
    return ""


def train_shard(runs: Sequence[PlannedRun], work: Work, send: Send) -> list[Outcome]:
    """Train the runs as one stack; an outcome for each, in order. Raises whatever the engine raises for the stack as a whole."""
    steps = _Steps(send)
    train = work.train or _engine()
    specs = [run.spec for run in runs]
    outcomes = train(specs, device=work.device, keep_context=work.keep_context, processes=work.processes, progress=steps.add)
    steps.flush()
    return outcomes


class _Steps:
    """Training steps, told to the supervisor a few times a second only."""

    def __init__(self, send: Send) -> None:
        self.send, self.count, self.sent = send, 0, time.monotonic()

    def add(self, steps: int) -> None:
        self.count += steps
        if time.monotonic() - self.sent > 0.25:
            self.flush()

    def flush(self) -> None:
        self.send(("steps", self.count))
        self.count, self.sent = 0, time.monotonic()


def store_outcomes(store: Store, runs: Sequence[PlannedRun], outcomes: Sequence[Outcome], work: Work, send: Send) -> None:
    """Store runs, each on its own, and say so. Threads, as most of the time is waiting for the disk to confirm.

    Raises:
        BenchError: A run could not be stored, or the results folder is gone.
    """
    if runs and not store.runs.is_dir():  # writing would make a new folder, with these runs alone in it
        raise BenchError(f"the results folder {store.root} is gone.", "Start again to make its runs anew.", ENVIRONMENT)

    def write(run: PlannedRun, outcome: Outcome) -> Record:
        record = build_record(run, outcome, environment(work.device), work.log)
        store.write(record, files_of(outcome, keep_context=work.keep_context))
        return record

    with ThreadPoolExecutor(8) as pool:
        for record in pool.map(write, runs, outcomes):
            folder = str(store.folder(record["run_id"]))
            send(("run", record["run_id"], record["status"], record["title"], record["error"], folder))


def _engine() -> Train:
    from bench.engine.train import train_stack  # noqa: PLC0415 - torch, in the worker only

    return train_stack


def _prepare(work: Work) -> None:
    """Where the supervisor is; output to the log, signals left to it, memory and threads set, plugins loaded, and it dies with it.

    A process group of its own holds whatever a method starts, so that it ends with the worker.
    """
    os.chdir(work.folder)
    for name in _settings():
        del os.environ[name]
    os.environ.update(work.settings)
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # schedulers send it to every process of a job
    log = (work.root / work.log).open("a", encoding="utf-8", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    faulthandler.enable(log)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    keep_freed_memory()
    with contextlib.suppress(ImportError):
        import torch  # noqa: PLC0415 - in the worker only

        torch.set_num_threads(work.threads)
        if work.device.startswith("cuda"):
            torch.cuda.set_device(work.device)  # whatever a method puts on "cuda" is there too
    from methods.registry import load_plugin  # noqa: PLC0415 - beside torch

    for plugin in work.plugins:
        load_plugin(plugin)


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)
