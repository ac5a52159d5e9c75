"""Tables, statistics, figures and the page: functions of the tidy frame of `bench.results`. Nothing here imports torch.

from reports import load, leaderboard, compare, answers
"""

from bench.results.frame import load
from reports.analysis import Choices, analyse
from reports.board import leaderboard
from reports.comparison import compare
from reports.premise import answers
from reports.sentences import headline

__all__ = ["Choices", "analyse", "answers", "compare", "headline", "leaderboard", "load"]
