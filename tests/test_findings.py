"""The tables of results/README.md on learners and starts, and its order beside that in print, are those of the committed runs."""

import json

import pandas as pd
import pytest

from reports import Choices, analyse, load
from reports.selection import select
from tests.test_readme import README, RESULTS, rows_of_text, table_of


@pytest.mark.parametrize(("rate", "prompts"), [(0.5, "learning-rates"), (0.0, "learning-rates-clean")])
def test_the_tables_of_what_is_tuned(rate, prompts):
    frame = pd.concat([load(RESULTS / name).frame for name in ("adapters", prompts)], ignore_index=True)
    frame = frame[frame["rate"] == rate]
    frame = frame[~frame["trained"] | frame["lr"].isin([0.002, 0.1, 0.128]) | frame["lr"].isna()].drop_duplicates("run_id")
    means = select(frame, "noisy_val").pivot_table(index=["domain", "tunes"], columns="method_title", values="accuracy")
    losses = ["CoOp", "SCE", "GCE", "PromptMAE", "DSPT"]
    names = {"prompt": "prompt", "linear_probe": "linear probe", "zero_shot_probe": "probe from zero-shot",
             "task_residual": "TaskRes", "clip_adapter": "CLIP-Adapter", "tip_adapter": "Tip-Adapter-F"}  # fmt: skip
    shown = {tuple(row[:6]) for row in rows_of_text()}
    for (domain, tunes), row in means.iterrows():
        place = "in domain" if domain == "in" else "out of domain"
        assert (f"{names[tunes]}, {place}", *(f"{mean:.1f}" for mean in row[losses])) in shown
    weights = ["task_residual", "zero_shot_probe"]
    assert (means.loc["out"].loc[weights, losses] > means.loc[("out", "prompt"), losses]).all(axis=None)
    if rate:
        lost = means.loc["in"].loc[["prompt", *weights]].eval("DSPT - CoOp")
        assert lost.between(22.5, 24).all()
        assert (means.loc["in"].loc[["clip_adapter", "tip_adapter"], losses] > 76.4).all(axis=None)
    else:
        kept = means.loc["in", losses].drop("linear_probe") - means.loc[("in", "prompt"), "Zero-shot CLIP"]
        assert kept.abs().max(axis=None) < 2
        assert means.loc["out"].loc[weights, ["CoOp", "SCE"]].round().eq(57).all(axis=None)
        assert round(means.loc[("out", "prompt"), losses].max()) == 43
        lost = means.loc["out"].loc[weights, ["DSPT", "PromptMAE"]].rsub(means.loc["out"].loc[weights, "CoOp"], axis=0)
        assert lost.min(axis=None) > 10.5
        assert lost.max(axis=None) < 12.5


def test_the_order_in_print_and_here():
    titles = {"coop_ce": "CoOp", "gce(q=0.5)": "GCE", "joapr": "JoAPR", "nlprompt": "NLPrompt"}
    printed = pd.read_csv(RESULTS / "published" / "label_noise.csv").query("noise == 'symmetric' and rate == 0.5")
    printed = printed[printed["method"].isin(titles.values())]
    means = [printed.pivot_table(index="dataset", columns="method", values="accuracy").dropna().mean()]
    for name in ("reference", "random-start"):
        frame = load(RESULTS / name).frame.query("noise == 'symmetric' and rate == 0.5")
        frame = frame.assign(title=frame["label"].map(titles)).dropna(subset="title")
        means += [row for _, row in frame.pivot_table(index="domain", columns="title", values="accuracy").iterrows()]
    shown = {tuple(row[1:]) for row in rows_of_text()}
    assert all(tuple(f"{mean:.1f}" for mean in row) in shown for row in means)
    assert 0.5 < means[1]["GCE"] - means[1]["JoAPR"] < 0.6
    assert all(row["GCE"] - row["JoAPR"] > 10 for row in means[2:])
    last = [row.idxmin() for row in means]
    assert last == ["CoOp", "CoOp", "JoAPR", "JoAPR", "JoAPR"]
    assert [bool(row["NLPrompt"] > row["GCE"]) for row in means] == [True, False, False, True, False]


def test_the_table_of_the_starts():
    """Accuracy before the first step, clean and at 75 % noise, by start; and the README's sentence of it."""
    frame = load(RESULTS / "starts").frame.query("trained")
    trains = frame["train"].map(json.loads)
    frame = frame.assign(init=[train["ctx_init"] for train in trains], length=[train["n_ctx"] for train in trains])
    rows = [line.strip("| ").split(" | ") for line in (RESULTS / "README.md").read_text(encoding="utf-8").splitlines()]
    (head,) = [row for row in rows if row[0] == "18 icon tasks, percent"]
    for name, init, length in (("16 random tokens", "random", 16), ("4 random tokens", "random", 4), ('"a photo of a"', "words", 0),
                               ("the card's template", "template", 0)):  # fmt: skip
        (shown,) = [row for row in rows if row[0] == name]
        own = frame[(frame["init"] == init) & (frame["length"] == length)]
        expected = [own["start"].mean()]
        for column in head[2:]:
            title, rate = column.split(", ")
            here = own[(own["method_title"] == title) & (own["rate"] == (0.0 if rate == "clean" else 0.75))]
            expected.append(here["accuracy"].mean())
        assert [float(number) for number in shown[1:]] == [round(number, 1) for number in expected]
        if length == 16:
            ends = dict(zip(head[1:], shown[1:], strict=True))
            first, last = ends["before the first step"], ends["DSPT, 75 % noise"]
            said = f"the icon tasks begin at {first} % and DSPT ends at {last} % under 75 % noise"
            assert said in README


def test_the_table_of_all_methods_from_random_tokens():
    def means(*names):
        frame = pd.concat([load(RESULTS / name).frame for name in names], ignore_index=True)
        frame = frame.query("trained and noise in ('clean', 'symmetric')")
        title = frame["method_title"].where(frame["label"] != "gce(q=0.5)", "GCE(q=0.5)")
        return frame.assign(title=title).pivot_table(index="title", columns=["domain", "rate"], values="accuracy")

    random = means("random-start")
    template = means("roster", "roster-noises").loc[random.index]
    for title in random.index:
        pairs = (f"{random.loc[title, cell]:.1f} / {template.loc[title, cell]:.1f}" for cell in random.columns)
        assert [title, *pairs] in rows_of_text()
    more = random - template
    assert more["in"].max().round(1).tolist() == [-1.2, -2.3, -4.6, -10.4]
    assert more.loc[["DSPT", "GCE", "PromptMAE"], ("in", 0.75)].between(-31.5, -27.5).all()
    assert (more["out"].drop("JoAPR").drop(columns=0.75) > 0).all(axis=None)
    assert list(more.index[more["out", 0.75] > 0]) == ["CoOp"]
    half, most = (random["in", rate].sort_values(ascending=False).index for rate in (0.5, 0.75))
    assert set(half[:3]) == {"NCE+RCE", "RCE", "NLPrompt"}
    assert list(most[:2]) == ["CLIPCleaner", "NLPrompt"]
    assert random.loc["DSPT", ("in", 0.5)] < random.loc["SCE", ("in", 0.5)]


NOISES = [("symmetric", 0.25), ("symmetric", 0.75), ("pairflip", 0.25), ("confusion", 0.5)]
MARKS = {"better": " ▲", "worse": " ▼"}


def under_each_noise(frame):
    """The results of each noise, and of zero-shot."""
    zero_shot = frame["method"] == "zero_shot"
    return [frame[zero_shot | ((frame["noise"] == noise) & (frame["rate"] == rate))] for noise, rate in NOISES]


def test_the_roster_under_other_noise():
    frame = load(RESULTS / "roster-noises").frame
    frame = frame.assign(title=frame["method_title"].where(frame["label"] != "gce(q=0.5)", "GCE(q=0.5)"))
    shown = table_of("percent")
    expected = [part.pivot_table(index="title", columns="domain", values="accuracy") for part in under_each_noise(frame)]
    for title, row in shown.items():
        means = [table.loc[title.removesuffix(" †"), domain] for domain in ("in", "out") for table in expected]
        assert [float(cell.split()[0]) for cell in row] == [round(mean, 1) for mean in means]
    assert len(shown) == frame["title"].nunique() == 49
    marks = pd.DataFrame({title: [cell[-1] if cell[-1] in "▲▼" else "" for cell in row] for title, row in shown.items()}).T
    inside, outside = marks[[0, 1, 2, 3]], marks[[4, 5, 6, 7]].set_axis(range(4), axis=1)  # columns: NOISES
    assert not (inside == "▲").any(axis=None)
    assert list((inside == "▼").sum()[[1, 3]]) == [20, 28]
    assert list((outside == "▲").sum()) == [14, 0, 16, 7]
    assert not (outside[1] == "▼").any()
    above = marks.index[outside[3] == "▲"]
    assert set(above) == {"DKAF (text)", "PHuber-CE", "SSR", "SOP", "Soft bootstrapping", "Focal", "CoOp"}
    assert (inside.loc[above, 3] == "▼").all()
    assert list(marks.index[(outside[[0, 2, 3]] == "▲").all(axis=1)]) == ["PHuber-CE", "DKAF (text)"]
    assert "better" in table_of("50 % noise")["PHuber-CE"][3]
    assert "Under confusions those above it out of domain are all below it in domain." in README
    lost = expected[3].loc["DSPT", "in"] - expected[3].loc["PHuber-CE", "in"]
    assert round(lost, 1) == 1.9
    lost = expected[3].loc["DSPT", "in"] - expected[3].loc[["JS", "DSPT-T"], "in"]
    assert lost.round(1).tolist() == [0.8, 0.7]
    assert min(table.loc["DSPT", "in"] - table.loc["DKAF (text)", "in"] for table in expected) > 5.55
    more = expected[1]["out"] - expected[1].loc["DSPT", "out"]
    assert [round(more[title], 1) for title in ("SCE", "CoOp")] == [2.2, -8.3]
    both = [title for title, row in table_of("50 % noise").items() if "better" in row[3] and "worse" not in row[1]]
    free = (outside[[0, 2]] == "▲").all(axis=1) & (inside[[0, 2, 3]] != "▼").all(axis=1)
    assert sorted(free[free].index.intersection(both)) == ["DSPT-T", "JS"]


@pytest.mark.long
def test_the_claims_of_the_roster_under_other_noise():
    shown = table_of("percent")
    for place, part in enumerate(under_each_noise(load(RESULTS / "roster-noises").frame)):
        for half, group in enumerate(analyse(part, Choices(control="dspt", group="domain")).groups.values()):
            assert set(group.labels) == set(shown)
            for title, score in group.scores.mean().items():
                mark = MARKS.get(group.versus["claim"].get(title), "")
                assert shown[title][len(NOISES) * half + place] == f"{score:.1f}{mark}"
