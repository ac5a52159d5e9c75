"""What Slurm says of a store's jobs. `squeue` alone is asked: a cluster may keep no accounts. No torch."""

import contextlib
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

POLL = 5.0  # seconds between two looks at the queue


def note_jobs(root: Path, ids: Sequence[str]) -> None:
    """Remember jobs that were submitted for a store."""
    if ids:
        with (root / "slurm" / "jobs.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"jobs": list(ids)}) + "\n")


def noted_jobs(root: Path) -> list[str]:
    """All jobs that were ever submitted for a store."""
    path, jobs = root / "slurm" / "jobs.jsonl", list[str]()
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that is none of ours says nothing of jobs
            jobs += map(str, json.loads(line)["jobs"])
    return jobs


def queued(root: Path) -> Counter[str]:
    """A store's jobs that have not ended, by state ("PENDING", "RUNNING", …)."""
    mine = set(noted_jobs(root))
    if not mine or shutil.which("squeue") is None:
        return Counter()
    shown = subprocess.run(["squeue", "--noheader", "--array", "--format=%i %T"], capture_output=True, text=True, check=False)
    pairs = [line.split() for line in shown.stdout.splitlines()]
    return Counter(state for job, state in pairs if job in mine)


def wait(root: Path) -> None:
    """Until none of a store's jobs is in the queue."""
    while queued(root):
        time.sleep(POLL)
