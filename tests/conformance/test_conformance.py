"""The conformance suite over every registered method."""

import pytest
import torch

from bench.check import CHECKS, check, check_method
from bench.check.losses import ALWAYS
from bench.check.training import OF_SHOTS, TRAINING
from methods import registry


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


ALSO_SHORT = {"coop_ce", "joapr"}  # whether all others learn, too, is a long test


def row_wise(name: str) -> bool:
    """Whether a method is a function of each row of logits alone, so that what training does to one such loss it does to all."""
    return "one call serves all" in check(name, "row-wise").reason


def every_case():
    for name in registry.names():
        alike = name not in ALSO_SHORT and row_wise(name)
        for rule in CHECKS:
            long = rule in TRAINING and (alike or (rule in ("learners", "learns") and name not in ALSO_SHORT))
            yield pytest.param(name, rule, marks=pytest.mark.long if long else ())


@pytest.mark.parametrize(("name", "rule"), list(every_case()))
def test_registered_methods_conform(name, rule):
    finding = check(name, rule)
    method = registry.load(name)
    applies = method.train or rule in ALWAYS or (method.from_shots and rule in OF_SHOTS)
    assert finding.state == ("ok" if applies else "skipped"), finding.reason


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("coop_ce", "linear_probe, zero_shot_probe, task_residual, clip_adapter, tip_adapter"),
        ("clap", "linear_probe, zero_shot_probe, task_residual; refused by a plan: clip_adapter, tip_adapter"),
    ],
)
def test_learners_are_checked_where_a_plan_takes_them(name, says):
    assert check(name, "learners").reason == f"alone and stacked: {says}"


def test_findings_come_in_order_for_all_checks():
    assert [finding.check for finding in check_method("zero_shot")] == list(CHECKS)


@pytest.mark.parametrize(
    ("name", "reason"), [("gce", "one call serves all"), ("elr", "more than a loss"), ("mixup", "AttributeError")]
)
def test_what_the_engine_folds(name, reason):
    assert reason in check(name, "row-wise").reason
