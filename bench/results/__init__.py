"""Results: the store of runs, the tidy frame read from it, exchange with others, upkeep."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.results.frame import Results, load

__all__ = ["Results", "load"]


def __getattr__(name: str) -> Any:
    """`load` and `Results` on first use: they import pandas, which storing a run does without."""
    if name in __all__:
        import bench.results.frame  # noqa: PLC0415 - pandas only when needed

        return getattr(bench.results.frame, name)
    raise AttributeError(f"module 'bench.results' has no attribute '{name}'")
