"""Slurm, through submitit: arrays of jobs, each requeued at its time limit."""

import importlib.util
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.errors import ENVIRONMENT, BenchError
from bench.runner.job import ShardJob

REQUEUES = 10_000  # as often as it takes: `ShardJob.checkpoint` sees to it that every time gets something done


class Slurm:
    """Slurm. Options are sbatch's own, and `array_parallelism`: how many jobs of an array may run at once."""

    name = "slurm"

    def check(self) -> None:
        """Whether jobs can be submitted.

        Raises:
            BenchError: Slurm or submitit is missing.
        """
        if importlib.util.find_spec("submitit") is None:
            raise BenchError("--on slurm needs submitit.", 'pip install "noisy-prompt-bench[slurm]"', ENVIRONMENT)
        if shutil.which("sbatch") is None:
            hint = "Run it on a login node of the cluster."
            raise BenchError("--on slurm: there is no sbatch on this machine.", hint, ENVIRONMENT)

    def submit(self, job: ShardJob, parts: Sequence[tuple[int, int]], options: Mapping[str, str]) -> Iterator[list[str]]:
        """Submit the parts, in arrays of the size that this cluster takes.

        Raises:
            BenchError: Slurm takes no job.
        """
        from submitit import SlurmExecutor  # noqa: PLC0415 - an extra

        executor = SlurmExecutor(folder=job.root / self.name / "%j", max_num_timeout=REQUEUES)
        sbatch: dict[str, Any] = {"cpus_per_task": 1, "requeue": True, **options}
        size = _max_array()
        try:
            executor.update_parameters(
                job_name=f"bench-{job.grid.name}",
                time=job.minutes,
                array_parallelism=int(sbatch.pop("array_parallelism", size)),
                additional_parameters=sbatch,
            )
            for start in range(0, len(parts), size):
                yield [submitted.job_id for submitted in executor.map_array(job, parts[start : start + size])]
        except (RuntimeError, ValueError) as error:
            said = str(error).strip().splitlines()[-1]
            raise BenchError(f"Slurm took no job: {said}", "Check the options.", ENVIRONMENT) from error

    def queued(self) -> dict[str, str]:
        """All jobs and their states. `squeue` alone is asked: a cluster may keep no accounts."""
        if shutil.which("squeue") is None:
            return {}
        shown = subprocess.run(["squeue", "--noheader", "--array", "--format=%i %T"], capture_output=True, text=True, check=False)
        return dict(line.split() for line in shown.stdout.splitlines())


def _max_array() -> int:
    """The most jobs that an array of this cluster may have."""
    shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False).stdout
    sizes = [line.split("=")[1] for line in shown.splitlines() if line.startswith("MaxArraySize")]
    return max(1, int(sizes[0])) if sizes else 1001
