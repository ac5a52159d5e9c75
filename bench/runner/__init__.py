"""The runner: a plan's shards through worker processes into the store."""

from bench.runner.run import Summary, run_grid

__all__ = ["Summary", "run_grid"]
