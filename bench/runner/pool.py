"""Supervision: one worker process per device, fed with shards; whatever kills a worker costs its shard and no more.

A shard whose worker dies, hangs or raises is split in two and tried again, down to single runs, so that the one bad run is found
and recorded as failed while all others finish. A run that failed beside other methods goes again in a fresh worker without them.
"""

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bench.engine.outcome import Outcome
from bench.errors import ENVIRONMENT, BenchError
from bench.plan import Cell, Shard
from bench.results.store import Store
from bench.runner.claims import BEAT, Claims
from bench.runner.progress import Reporter
from bench.runner.record import TAIL
from bench.runner.worker import Work, main, store_outcomes

DEATHS = 2  # a single run whose worker dies this often is recorded as failed (once may be an accident)
PATIENCE = 5.0  # seconds for a process to end
POLL = 5.0  # seconds between looks at runs that another runner holds


@dataclass
class Task:
    """Runs to do as one stack, and how often a worker has died of them."""

    cells: list[Cell]
    deaths: int = 0
    fresh: bool = False  # for a worker that has run nothing yet


@dataclass(eq=False)
class Worker:
    """A worker process and what it is doing."""

    process: BaseProcess
    pipe: "connection.Connection[Any, Any]"
    work: Work
    task: Task | None = None
    heard: float = field(default_factory=time.monotonic)
    ready: bool = False  # it has started; until then only its death counts
    used: bool = False  # it has had a shard
    error: str = ""  # why its shard failed as a whole
    hung: bool = False


class Pool:
    """Runs shards on workers until none is left.

    Args:
        store: Where results go.
        works: One for each worker.
        claims: This runner's claims.
        reporter: Told of everything that happens.
        stall: Seconds without a sign of progress after which a worker counts as hung.
    """

    def __init__(self, store: Store, works: Sequence[Work], claims: Claims, reporter: Reporter, stall: float) -> None:
        self.store, self.works, self.claims, self.reporter, self.stall = store, works, claims, reporter, stall
        self.queue: deque[Task] = deque()
        self.elsewhere: list[Task] = []  # runs that another runner holds
        self.attempts: dict[str, int] = {}  # how often those had failed when it was seen that they are held
        self.workers: list[Worker] = []
        self._context = _context()

    def run(self, shards: Iterable[Shard]) -> None:
        """Train all shards.

        Raises:
            BenchError: Results cannot be stored, or workers do not start.
        """
        self.queue.extend(Task(list(shard.cells)) for shard in shards)
        beat = looked = time.monotonic()
        try:
            while self.queue or self.elsewhere or any(worker.task for worker in self.workers):
                now = time.monotonic()
                if now - beat > BEAT:
                    self.claims.beat()
                    beat = now
                if not self.queue and now - looked > POLL:
                    self._look_elsewhere()
                    looked = now
                self._assign()
                self._listen()
                self.reporter.tick()
        finally:
            for worker in self.workers:
                _end(worker.process)

    def _assign(self) -> None:
        """Give every idle worker a task; start workers as long as there are tasks for them."""
        while self.queue:
            worker = next((worker for worker in self.workers if worker.task is None), None)
            if worker is None and len(self.workers) == len(self.works):
                return
            task = self._claim(self.queue.popleft())
            if not task.cells:
                continue
            if worker and worker.used and task.fresh:
                self.workers.remove(worker)
                _end(worker.process)
                worker = None
            worker = worker or self._start(next(work for work in self.works if work not in [w.work for w in self.workers]))
            worker.task, worker.heard, worker.used, worker.error = task, time.monotonic(), True, ""
            with contextlib.suppress(OSError):  # it has died; `_listen` sees that
                worker.pipe.send(task.cells)

    def _claim(self, task: Task) -> Task:
        """What of a task is left to this runner: neither finished nor in another runner's hands."""
        mine, theirs = [], []
        for cell in task.cells:
            if not self.claims.take(cell.run_id):
                theirs.append(cell)
                self.attempts[cell.run_id] = self.store.attempts(cell.run_id)
            elif self.store.has(cell.run_id):
                self.claims.release([cell.run_id])
                self.reporter.cached(cell)
            else:
                mine.append(cell)
        if theirs:
            self.elsewhere.append(Task(theirs))
        return replace(task, cells=mine)

    def _look_elsewhere(self) -> None:
        """What became of the runs that another runner held: done, failed, or free again."""
        for task in self.elsewhere:
            held, free = [], []
            for cell in task.cells:
                if self.store.has(cell.run_id):
                    self.reporter.cached(cell)
                elif self.store.attempts(cell.run_id) > self.attempts[cell.run_id]:
                    self._report_failure(cell)
                elif self.claims.take(cell.run_id):
                    free.append(cell)
                else:
                    held.append(cell)
            self.claims.release(cell.run_id for cell in free)  # taken again with the task
            if free:
                self.queue.append(Task(free))
            task.cells = held
        self.elsewhere = [task for task in self.elsewhere if task.cells]

    def _report_failure(self, cell: Cell) -> None:
        record = self.store.read(cell.run_id)
        self.reporter.run(cell.run_id, "failed", record["title"], record["error"], str(self.store.folder(cell.run_id)))

    def _start(self, work: Work) -> Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=main, args=(there, work), daemon=True)
        try:
            process.start()
        except (EOFError, OSError) as error:  # the server that forks workers was killed
            raise BenchError(
                f"no worker process can be started ({error}).",
                "Start again to continue; a very long $TMPDIR prevents it.",
                ENVIRONMENT,
            ) from error
        there.close()
        worker = Worker(process, here, work)
        self.workers.append(worker)
        return worker

    def _listen(self) -> None:
        """Take in messages, deaths and silence. A process is watched besides its pipe: a child of its may hold that open."""
        pipes = {worker.pipe: worker for worker in self.workers}
        ends = {worker.process.sentinel: worker for worker in self.workers}
        for signalled in connection.wait([*pipes, *ends], timeout=0.5 if pipes else POLL):
            if signalled in pipes:
                self._drain(pipes[signalled])
        for worker in list(self.workers):
            if not worker.process.is_alive():
                self._bury(worker)
            elif worker.task and worker.ready and time.monotonic() - worker.heard > self.stall:
                worker.error, worker.hung = f"no progress for {self.stall:g} s; its worker was stopped", True
                _stop_hung(worker.process)
                self._bury(worker)

    def _drain(self, worker: Worker) -> None:
        """Hear what a worker has sent."""
        try:
            while worker in self.workers and worker.pipe.poll():
                self._hear(worker, worker.pipe.recv())
        except (EOFError, OSError):  # it has closed its end, so it is about to die
            self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        """A worker has died or says no more: end what it has started, hear its last words, and see what is left to do."""
        if worker not in self.workers:
            return
        worker.process.join(PATIENCE)
        died = not worker.process.is_alive()
        _end(worker.process)
        with contextlib.suppress(EOFError, OSError):
            while worker in self.workers and worker.pipe.poll():
                self._hear(worker, worker.pipe.recv())
        if not worker.ready:
            raise BenchError(f"a worker did not start; its log is {worker.work.root / worker.work.log}.", code=ENVIRONMENT)
        cause = _cause(worker.process.exitcode) if died else "it did not end when it should"
        self._lost(worker, worker.error or f"its worker died ({cause})")

    def _hear(self, worker: Worker, message: tuple[Any, ...]) -> None:
        worker.heard = time.monotonic()
        match message:
            case ("ready",):
                worker.ready = True
            case ("steps", steps):
                self.reporter.steps(steps)
            case ("run", run_id, status, title, error, folder):
                self._ended(worker, run_id)
                self.reporter.run(run_id, status, title, error, folder)
            case ("again", run_ids, error):
                self._try_again(worker, run_ids, error)
            case ("shard", error):
                worker.error = error
                if not error:
                    worker.task = None
            case ("fatal", text, hint, code):
                raise BenchError(text, hint, code)

    def _try_again(self, worker: Worker, run_ids: Sequence[str], error: str) -> None:
        """Runs failed in a worker where other methods' code had run: each method goes again by itself, in a fresh one."""
        cells = worker.task.cells if worker.task else []
        worker.task = Task([])  # it ends now; until then it gets nothing else
        self.claims.release(run_ids)
        self.reporter.note(f"{len(cells)} runs failed beside other methods ({error}): they go again without them")
        names = dict.fromkeys(cell.spec.method.name for cell in cells)
        self.queue.extendleft(Task([cell for cell in cells if cell.spec.method.name == name], fresh=True) for name in names)

    def _ended(self, worker: Worker, run_id: str) -> None:
        self.claims.release([run_id])
        if worker.task:
            worker.task.cells = [cell for cell in worker.task.cells if cell.run_id != run_id]

    def _lost(self, worker: Worker, why: str) -> None:
        """A worker is gone: what it had not stored goes back in halves; a single run is recorded as failed at the end."""
        self.workers.remove(worker)
        task, worker.task = worker.task, None
        if task is None or not task.cells:
            return
        self.claims.release(cell.run_id for cell in task.cells)
        if len(task.cells) > 1:
            middle = len(task.cells) // 2
            self.reporter.note(
                f"{why}: {len(task.cells)} runs go again in two smaller stacks; log: {worker.work.root / worker.work.log}"
            )
            self.queue.extendleft([replace(task, cells=task.cells[middle:]), replace(task, cells=task.cells[:middle])])
        elif not worker.hung and task.deaths + 1 < DEATHS:
            self.queue.appendleft(replace(task, deaths=task.deaths + 1, fresh=True))
        else:
            trace = _tail(worker.work.root / worker.work.log)
            outcome = Outcome(task.cells[0].spec, "failed", error=why, traceback=trace)
            store_outcomes(self.store, task.cells, [outcome], worker.work, lambda message: self.reporter.run(*message[1:]))


def _context() -> Any:
    """How workers start: forked from a server that has imported torch but run nothing, so that a new one costs no import."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.runner.worker", "torch", "bench.engine.train"])
    return context


def _stop_hung(process: BaseProcess) -> None:
    """Have a hung process write to its log where it hangs (faulthandler answers SIGABRT)."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGABRT)


def _end(process: BaseProcess) -> None:
    """End a worker and, by their process group, all that a method has started in it."""
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # no group: it died before it had one, or nothing is left
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join(PATIENCE)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"{name}: out of memory, or killed by hand" if name == "SIGKILL" else name
    return f"exit status {exitcode}"


def _tail(log: Path, lines: int = 60) -> str:
    """The end of a log, at most `TAIL` bytes, without the long list of extension modules that faulthandler adds."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if not line.startswith("Extension modules:")][-lines:])
