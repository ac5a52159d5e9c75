"""The gradient curves: construction and known values."""

import csv
import io

import numpy as np
import pytest

from bench.curves import Point, curve, is_plain, logits, write_curves
from methods.registry import create


@pytest.fixture(scope="module")
def table():
    out = io.StringIO()
    write_curves([10], out)
    rows = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert tuple(rows[0]) == Point._fields
    return {(row["method"], row["rest"], float(row["p_y"])): (float(row["gradient_norm"]), float(row["loss"])) for row in rows}


def test_the_construction():
    for rest, largest in (("one", 0.7 * 0.999), ("all", 0.7 / 9)):
        p = np.exp(logits(0.3, 10, rest).numpy())
        assert p.sum() == pytest.approx(1)
        assert p[0] == pytest.approx(0.3)
        assert p[1:].max() == pytest.approx(largest)


@pytest.mark.parametrize("rest", ["one", "all"])
@pytest.mark.parametrize("p_y", [0.01, 0.3, 0.5, 0.99])
def test_known_gradients(table, rest, p_y):
    """CE: p - e_y. MAE: p_y (p - e_y). GCE: p_y^q (p - e_y)."""
    p = np.exp(logits(p_y, 10, rest).numpy())
    ce = np.linalg.norm(p - np.eye(10)[0])
    assert table["coop_ce", rest, p_y] == pytest.approx((ce, -np.log(p_y)), rel=1e-4)
    assert table["mae", rest, p_y] == pytest.approx((p_y * ce, 1 - p_y), rel=1e-4)
    assert table["gce", rest, p_y][0] == pytest.approx(p_y**0.7 * ce, rel=1e-4)
    assert table["rce", rest, p_y][0] == pytest.approx(np.log(1e4) * p_y * ce, rel=1e-4)
    assert table["dspt", rest, p_y] == pytest.approx(table["mae_lse", rest, p_y], rel=1e-4)


def test_two_equal_views_are_one(table):
    for rest in ("one", "all"):
        assert table["gjs", rest, 0.4] == pytest.approx(table["js", rest, 0.4], rel=1e-4)


def test_dspt_saturates_where_ce_does_not(table):
    norms = [table["dspt", "one", p_y][0] for p_y in (0.01, 0.5, 0.99)]
    assert norms[0] < 0.1 * norms[1]
    assert norms[2] < 0.1 * norms[1]
    assert table["coop_ce", "one", 0.01][0] > 1.3


def test_only_losses_of_one_sample_have_a_curve(table):
    methods = {method for method, _, _ in table}
    assert methods >= {"coop_ce", "dspt", "gce", "js", "gjs"}
    assert not methods & {"zero_shot", "elr", "co_teaching", "joapr", "nlprompt", "deft_text", "clipcleaner", "clean_only", "mixup"}
    assert is_plain(create("mixup"))  # it is left out as it draws at random


def test_a_loss_that_looks_at_its_batch_has_no_curve():
    """It would be another one for another number of points."""
    standing = create("coop_ce")
    assert len(list(curve(standing, 10, "one"))) == 99

    class Relative(type(standing)):
        def loss(self, batch):
            return super().loss(batch) / super().loss(batch).detach().mean()

    assert not list(curve(Relative(), 10, "one"))
