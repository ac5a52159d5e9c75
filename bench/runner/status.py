"""What a results folder holds and what happens in it, read from its files alone (no torch)."""

from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.results.store import Store
from bench.runner.claims import running
from bench.runner.schedulers import queued

SHOWN = 10  # failures listed


def read_status(root: Path) -> dict[str, Any]:
    """Counts per grid that was run here, runs in flight, and failures with where their records lie.

    Raises:
        BenchError: The folder holds no results.
    """
    store = Store(root)
    store.check()
    done, failures = store.done(), store.failures()
    return {
        "results": str(root),
        "done": len(done),
        "failed": len(failures),
        "running": len(running(root)),
        "queue": dict(queued(root)),
        "grids": [_grid(name, asked, done, failures) for name, asked in store.grids().items()],
        "failures": [_failure(store, run_id) for run_id in sorted(failures)[:SHOWN]],
    }


def _grid(name: str, asked: dict[str, Any], done: set[str], failures: set[str]) -> dict[str, Any]:
    wanted = set(asked["run_ids"])
    return {
        "name": name,
        "total": len(wanted) + sum(asked["unavailable"].values()),
        "done": len(wanted & done),
        "failed": len(wanted & failures),
        "missing": len(wanted - done - failures),
        "unavailable": asked["unavailable"],
    }


def _failure(store: Store, run_id: str) -> dict[str, Any]:
    try:
        record = store.read(run_id)
    except BenchError as error:
        record = {"title": run_id, "error": str(error), "log": ""}
    return {
        "run_id": run_id,
        "title": record["title"],
        "error": record["error"],
        "attempts": store.attempts(run_id),
        "record": str(store.folder(run_id) / "record.json"),
        "log": str(store.root / record["log"]) if record["log"] else "",
    }


def status_text(found: dict[str, Any]) -> str:
    """The status for people."""
    lines = [f"{found['results']}: {found['done']} runs done, {found['failed']} failed, {found['running']} in flight"]
    lines += [f"  jobs: {count} {state.lower()}" for state, count in found["queue"].items()]
    for grid in found["grids"]:
        lines.append(
            f"  grid {grid['name']}: {grid['done']} of {grid['total']} done, {grid['failed']} failed, {grid['missing']} missing"
        )
        lines += [f"    {count} unavailable: {reason}" for reason, count in grid["unavailable"].items()]
    for failure in found["failures"]:
        lines.append(f"  failed: {failure['title']}: {failure['error']}")
        lines.append(f"    record: {failure['record']}")
        lines += [f"    log: {failure['log']}"] if failure["log"] else []
    if found["failed"] > len(found["failures"]):
        lines.append(
            f"  … and {found['failed'] - len(found['failures'])} more failures (bench status --json lists the same {SHOWN})"
        )
    return "\n".join(lines)
