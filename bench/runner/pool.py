"""Supervision: one worker process per device, fed with shards; whatever kills a worker costs its shard and no more.

A shard whose worker dies, hangs or raises is split in two and tried again, down to single runs, so that the one bad run is found
and recorded as failed while all others finish. A run that failed beside other methods goes again in a fresh worker without them.
"""

import contextlib
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
from bench.plan import PlannedRun, Shard
from bench.results.store import Store
from bench.runner.claims import BEAT, Claims
from bench.runner.forks import context
from bench.runner.progress import Reporter
from bench.runner.record import TAIL
from bench.runner.worker import Work, main, store_outcomes

DEATHS = 2  # a single run whose worker dies this often is recorded as failed (once may be an accident)
PATIENCE = 5.0  # seconds for a process to end
POLL = 5.0  # seconds between looks at runs that another runner holds


@dataclass
class Assignment:
    """Runs to do as one stack, and how often a worker has died of them."""

    runs: list[PlannedRun]
    deaths: int = 0
    fresh: bool = False  # for a worker that has run nothing yet


@dataclass(eq=False)
class Worker:
    """A worker process and what it is doing."""

    process: BaseProcess
    pipe: "connection.Connection[Any, Any]"
    work: Work
    assignment: Assignment | None = None
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
        self.queue: deque[Assignment] = deque()
        self.elsewhere: list[Assignment] = []  # runs that another runner holds
        self.attempts: dict[str, int] = {}  # how often those had failed when it was seen that they are held
        self.workers: list[Worker] = []
        self._context = context()

    def run(self, shards: Iterable[Shard]) -> None:
        """Train all shards.

        Raises:
            BenchError: Results cannot be stored, their folder is gone, or workers do not start.
        """
        self.queue.extend(Assignment(list(shard.runs)) for shard in shards)
        beat = looked = time.monotonic()
        try:
            while self.queue or self.elsewhere or any(worker.assignment for worker in self.workers):
                self.claims.check()
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
        """Give every idle worker an assignment; start workers as long as there are assignments for them."""
        while self.queue:
            worker = next((worker for worker in self.workers if worker.assignment is None), None)
            if worker is None and len(self.workers) == len(self.works):
                return
            assignment = self._claim(self.queue.popleft())
            if not assignment.runs:
                continue
            if worker and worker.used and assignment.fresh:
                self.workers.remove(worker)
                _end(worker.process)
                worker = None
            worker = worker or self._start(next(work for work in self.works if work not in [w.work for w in self.workers]))
            worker.assignment, worker.heard, worker.used, worker.error = assignment, time.monotonic(), True, ""
            with contextlib.suppress(OSError):  # it has died; `_listen` sees that
                worker.pipe.send(assignment.runs)

    def _claim(self, assignment: Assignment) -> Assignment:
        """What of an assignment is left to this runner: neither finished nor in another runner's hands."""
        mine, theirs = [], []
        for run in assignment.runs:
            if not self.claims.take(run.run_id):
                theirs.append(run)
                self.attempts[run.run_id] = self.store.attempts(run.run_id)
            elif self.store.has(run.run_id):
                self.claims.release([run.run_id])
                self.reporter.cached(run)
            else:
                mine.append(run)
        if theirs:
            self.elsewhere.append(Assignment(theirs))
        return replace(assignment, runs=mine)

    def _look_elsewhere(self) -> None:
        """What became of the runs that another runner held: done, failed, or free again."""
        for assignment in self.elsewhere:
            held, free = [], []
            for run in assignment.runs:
                if self.store.has(run.run_id):
                    self.reporter.cached(run)
                elif self.store.attempts(run.run_id) > self.attempts[run.run_id]:
                    self._report_failure(run)
                elif self.claims.take(run.run_id):
                    free.append(run)
                else:
                    held.append(run)
            self.claims.release(run.run_id for run in free)  # taken again with the assignment
            if free:
                self.queue.append(Assignment(free))
            assignment.runs = held
        self.elsewhere = [assignment for assignment in self.elsewhere if assignment.runs]

    def _report_failure(self, run: PlannedRun) -> None:
        record = self.store.read(run.run_id)
        self.reporter.run(run.run_id, "failed", record["title"], record["error"], str(self.store.folder(run.run_id)))

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
            elif worker.assignment and worker.ready and time.monotonic() - worker.heard > self.stall:
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
                    worker.assignment = None
            case ("fatal", text, hint, code):
                raise BenchError(text, hint, code)

    def _try_again(self, worker: Worker, run_ids: Sequence[str], error: str) -> None:
        """Runs failed in a worker where other methods' code had run: each method goes again by itself, in a fresh one."""
        runs = worker.assignment.runs if worker.assignment else []
        worker.assignment = Assignment([])  # it ends now; until then it gets nothing else
        self.claims.release(run_ids)
        self.reporter.note(f"{len(runs)} runs failed beside other methods ({error}): they go again without them")
        names = dict.fromkeys(run.spec.method.name for run in runs)
        self.queue.extendleft(Assignment([run for run in runs if run.spec.method.name == name], fresh=True) for name in names)

    def _ended(self, worker: Worker, run_id: str) -> None:
        self.claims.release([run_id])
        if worker.assignment:
            worker.assignment.runs = [run for run in worker.assignment.runs if run.run_id != run_id]

    def _lost(self, worker: Worker, why: str) -> None:
        """A worker is gone: what it had not stored goes back in halves; a single run is recorded as failed at the end."""
        self.workers.remove(worker)
        assignment, worker.assignment = worker.assignment, None
        if assignment is None or not assignment.runs:
            return
        self.claims.release(run.run_id for run in assignment.runs)
        if len(assignment.runs) > 1:
            middle = len(assignment.runs) // 2
            self.reporter.note(
                f"{why}: {len(assignment.runs)} runs go again in two smaller stacks; log: {worker.work.root / worker.work.log}"
            )
            self.queue.extendleft(
                [replace(assignment, runs=assignment.runs[middle:]), replace(assignment, runs=assignment.runs[:middle])]
            )
        elif not worker.hung and assignment.deaths + 1 < DEATHS:
            self.queue.appendleft(replace(assignment, deaths=assignment.deaths + 1, fresh=True))
        else:
            trace = _tail(worker.work.root / worker.work.log)
            outcome = Outcome(assignment.runs[0].spec, "failed", error=why, traceback=trace)
            store_outcomes(self.store, assignment.runs, [outcome], worker.work, lambda message: self.reporter.run(*message[1:]))


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
