"""The three questions, on results whose answers are known: written over simulated ones, number by number."""

import pandas as pd
import pytest
from scipy import stats

from reports import answers

# points above zero-shot: in domain under noise, out of domain under noise, and on clean labels (in, out)
GAINS = {
    "coop_ce": (-20.0, 4.0, -1.0, 30.0),
    "dspt": (0.1, 12.0, 1.2, 17.0),
    "mae": (0.2, 11.8, 1.0, 16.5),
    "sce": (-2.0, 20.0, 0.5, 32.5),
}


@pytest.fixture
def frame(sim):
    """Twelve datasets, six in domain; all that is random is overwritten, but a hundredth of the dataset's number."""
    frame = (
        sim.simulate(5, 12, 2).query("method in @names and noise != 'pairflip'", local_dict={"names": [*GAINS, "zero_shot"]}).copy()
    )
    datasets = sorted(frame["dataset"].unique())
    number = frame["dataset"].map(datasets.index)
    frame["domain"] = number.lt(6).map({True: "in", False: "out"})
    frame["zero_shot"] = frame["domain"].map({"in": 76.0, "out": 16.0})
    frame["accuracy"] = frame["zero_shot"]
    for method, (noisy_in, noisy_out, clean_in, clean_out) in GAINS.items():
        for domain, noisy, clean in (("in", noisy_in, clean_in), ("out", noisy_out, clean_out)):
            rows = (frame["method"] == method) & (frame["domain"] == domain)
            gain = pd.Series(noisy, frame.index).where(frame["rate"] > 0, clean)
            frame.loc[rows, "accuracy"] += (gain + 0.01 * number * (method != "zero_shot"))[rows]
    return frame


def test_every_question_is_answered_for_both_halves(frame):
    kept_in, kept_out, learnt_in, learnt_out, more_in, more_out = answers(frame, "dspt", ["mae", "sce"])
    least = stats.wilcoxon([1, 2, 3, 4, 5, 6], method="exact").pvalue  # all six on one side
    assert kept_in.startswith("In domain (6 tasks, zero-shot 76.0 %), under symmetric noise of 25 to 75 %, points above")
    assert "coop_ce -20.0 (P(worse) = 1.00), sce -2.0 (P(worse) = 1.00), dspt +0.1 (P(equivalent) = 1.00)" in kept_in
    assert 4 * least > 0.05  # so no test of six datasets and four rivals can claim anything
    assert "sce +20.1 (P(better) = 1.00)." in kept_out
    assert learnt_in.endswith("clean labels, points above zero-shot: dspt +1.2, mae +1.0, sce +0.5, coop_ce -1.0.")
    assert learnt_out.endswith("points above zero-shot: sce +32.6, coop_ce +30.1, dspt +17.1, mae +16.6.")
    assert "against dspt (equivalent: within 0.5 points): " in more_in
    assert f"mae +0.1 (+0.1 to +0.1, p = {4 * least:.2g}, P(equivalent) = 1.00)" in more_in
    assert "coop_ce" not in more_in
    assert "sce +8.0 (+8.0 to +8.0" in more_out
    assert "mae -0.2 (-0.2 to -0.2" in more_out
