"""The runner: a plan's shards through worker processes into the store (`bench.runner.run.run_grid`)."""
