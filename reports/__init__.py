"""Tables, statistics, figures and the page: functions of the tidy frame of `bench.results`. Nothing here imports torch.

from reports import load, leaderboard, compare, answers
"""

try:
    from bench.results.frame import load
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("bench"):
        raise
    import bench  # a user's own, in a notebook's folder for instance

    said = f"Python takes {bench.__file__ or list(bench.__path__)} for this project's package 'bench'; rename that module."
    raise ImportError(said) from None
from reports.analysis import analyse
from reports.board import leaderboard
from reports.choices import Choices
from reports.comparison import compare
from reports.premise import answers
from reports.sentences import headline

__all__ = ["Choices", "analyse", "answers", "compare", "headline", "leaderboard", "load"]
