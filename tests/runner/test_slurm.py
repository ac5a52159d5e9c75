"""Grids on Slurm. The tests marked `slurm` need a cluster that runs jobs on this machine: tests/slurm/start_cluster makes one."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.plan import make_plan
from bench.results.store import Store
from bench.runner import job as jobs
from bench.runner import schedulers, slurm
from bench.runner.job import ShardJob
from bench.runner.status import read_status

HERE = Path(__file__).parent


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Store(tmp_path / "results").prepare()
    return tmp_path / "results"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch):
    """A running cluster, whose jobs find the fake engine."""
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.fail("no Slurm cluster answers; start one with tests/slurm/start_cluster")
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{HERE.parent.parent}")
    node("resume")
    yield
    subprocess.run(["scancel", "--user", "root"], check=False)
    node("resume")


def submit(job: ShardJob, shards: int, options: Mapping[str, str] | None = None) -> list[str]:
    return schedulers.submit(schedulers.scheduler("slurm"), job, shards, options or {})


def node(state: str) -> None:
    name = subprocess.run(["sinfo", "-h", "-o", "%n"], capture_output=True, text=True, check=True).stdout.split()[0]
    subprocess.run(["scontrol", "update", f"nodename={name}", f"state={state}", "reason=test"], capture_output=True, check=False)


def finish(root: Path, seconds: float = 400.0) -> None:
    end = time.monotonic() + seconds
    while schedulers.queued(root):
        assert time.monotonic() < end, subprocess.run(["squeue"], capture_output=True, text=True, check=False).stdout
        time.sleep(1)
        for job in subprocess.run(
            ["squeue", "-h", "-t", "PD", "-o", "%i"], capture_output=True, text=True, check=False
        ).stdout.split():
            # Slurm holds a requeued job back for two minutes.
            subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], capture_output=True, check=False)


def running(root: Path, seconds: float = 120.0) -> None:
    """Until a job trains."""
    end = time.monotonic() + seconds
    while not list(root.glob("claims/*-????????")):
        assert time.monotonic() < end, "no job claimed a run"
        time.sleep(0.2)


# Without a cluster


def test_a_job_that_got_something_done_goes_on_as_it_is(grid, root, filled):
    job = ShardJob(grid, root, minutes=10, stack=8)
    job.before = 3
    again = job.checkpoint((1, 2))
    assert (again.function, again.args) == (job, ((1, 2),))


def test_a_job_that_got_nothing_done_goes_on_in_smaller_stacks(grid, root):
    stacks, job = [], ShardJob(grid, root, minutes=10, stack=8)
    while job.stack > 1:
        job = job.checkpoint((1, 2)).function
        stacks.append(job.stack)
    assert stacks == [4, 2, 1]


def test_a_run_that_does_not_fit_alone_is_recorded_and_the_job_goes_on_without_it(grid, root, monkeypatch):
    cell = make_plan(grid, Store(root)).runs[3]
    monkeypatch.setattr(jobs, "held_here", lambda _: [cell.run_id])
    again = ShardJob(grid, root, minutes=10, stack=1).checkpoint((1, 2))
    assert again.function.stack == 1
    assert Store(root).failures() == {cell.run_id}
    assert "limit of 10 minutes" in Store(root).read(cell.run_id)["error"]
    assert make_plan(grid, Store(root)).counts["to_run"] == 17


def test_a_limit_that_would_be_hit_at_once_is_refused(grid, root):
    with pytest.raises(BenchError, match="too short"):
        submit(ShardJob(grid, root, minutes=2), 4)


def test_no_slurm_is_said(grid, root, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda _: None)
    with pytest.raises(BenchError, match="no sbatch") as caught:
        submit(ShardJob(grid, root, minutes=10), 4)
    assert caught.value.code == 3


# On a cluster


@pytest.mark.slurm
def test_an_array_completes_a_grid(cluster, grid, root, fake):
    """More jobs than an array of this cluster may have (9): several arrays."""
    many = grid.model_copy(update={"seeds": list(range(1, 23))})
    ids = submit(ShardJob(many, root, minutes=10, train=fake.train), 10)
    assert len(ids) == 10
    assert sum(read_status(root)["queue"].values()) > 0
    finish(root)
    plan = make_plan(many, Store(root))
    assert plan.counts["done"] == plan.counts["total"] == 178
    assert submit(ShardJob(many, root, minutes=10), 12) == []


@pytest.mark.slurm
def test_a_killed_job_costs_its_shard_and_a_second_submission_completes_the_grid(cluster, grid, root, fake, tmp_path):
    troubles = tmp_path / "troubles.json"
    troubles.write_text('{"2": "hang"}')
    job = ShardJob(grid, root, minutes=10, train=partial(fake.troubled, troubles))
    ids = submit(job, 2)
    running(root)
    subprocess.run(["scancel", "--signal=KILL", ids[0]], check=True)
    subprocess.run(["scancel", ids[1]], check=True)
    finish(root)
    assert make_plan(grid, Store(root)).counts["to_run"] > 0
    troubles.write_text("{}")
    submit(job, 2)
    finish(root)
    assert make_plan(grid, Store(root)).counts["done"] == 18


@pytest.mark.slurm
def test_a_failing_job_cancels_no_other(cluster, grid, root, fake, tmp_path):
    """The node's copy of one plugin is broken for the first job only: the others do their parts."""
    flag = tmp_path / "broken"
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        f"import os\nif os.environ.get('SLURM_ARRAY_TASK_ID') == '0' and os.path.exists({str(flag)!r}):\n    raise OSError\n"
    )
    flag.touch()
    job = ShardJob(grid, root, minutes=10, plugins=(plugin,), train=fake.train)
    submit(job, 3)
    finish(root)
    counts = make_plan(grid, Store(root)).counts
    assert 0 < counts["done"] < 18
    flag.unlink()
    submit(job, 3)
    finish(root)
    assert make_plan(grid, Store(root)).counts["done"] == 18


@pytest.mark.slurm
def test_a_drained_node_only_delays_the_grid(cluster, grid, root, fake):
    node("drain")
    submit(ShardJob(grid, root, minutes=10, train=fake.train), 2)
    time.sleep(5)
    assert set(schedulers.queued(root)) == {"PENDING"}
    assert not Store(root).done()
    node("resume")
    finish(root)
    assert make_plan(grid, Store(root)).counts["done"] == 18


@pytest.mark.slurm
def test_a_job_at_its_limit_is_requeued_and_continues(cluster, grid, root, fake, tmp_path):
    """The signal that Slurm sends before the limit, sent by hand."""
    troubles = tmp_path / "troubles.json"
    troubles.write_text('{"2": "hang"}')
    job = ShardJob(grid, root, minutes=10, stack=4, train=partial(fake.troubled, troubles))
    (only,) = submit(job, 1)
    running(root)
    troubles.write_text("{}")
    subprocess.run(["scancel", "--signal=USR2", only], check=True)
    finish(root)
    assert "Restarts=1" in subprocess.run(["scontrol", "show", "job", only], capture_output=True, text=True, check=True).stdout
    assert make_plan(grid, Store(root)).counts["done"] == 18


@pytest.mark.slurm
def test_what_slurm_refuses_is_one_sentence(cluster, cards, tmp_path):
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f'methods = ["coop_ce"]\ndatasets = ["{cards[0]}"]\nviews = 2\nshots = [2]\nseeds = [1]\nnoise = {{clean = [0.0]}}\n'
    )
    command = [
        sys.executable,
        "-c",
        "from bench.cli import main; main()",
        "run",
        str(grid),
        "--on",
        "slurm",
        "--option",
        "partition=nowhere",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert done.returncode == 3
    assert "invalid partition" in done.stderr
