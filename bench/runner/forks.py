"""How workers come to be: forked from a server that has imported torch but run nothing, so that a new one costs no import."""

import multiprocessing
from multiprocessing import forkserver
from typing import Any

PRELOAD = ["bench.runner.worker", "torch", "bench.engine.train"]


def context() -> Any:
    """Makes workers and their pipes."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOAD)
    return made


def start_server() -> None:
    """Let the server do its imports, some seconds, while this process does something else."""
    if context().get_start_method() == "forkserver":
        forkserver.ensure_running()
