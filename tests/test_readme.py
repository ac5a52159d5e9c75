"""What the README tells a newcomer is true: its method conforms, its grid expands, its commands exist."""

import re
import shlex
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import typer

from bench.cli import commands
from bench.grid import Grid, expand
from bench.results.frame import load
from methods import registry
from reports import Choices, analyse, answers, cells
from reports.premise import keeps, more_than
from reports.statistics import against_control

ROOT = Path(__file__).parent.parent
README = ROOT.joinpath("README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "results"


def block(language, word):
    """The first code block in a language that holds a word."""
    return next(text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if word in text)


def test_the_method_in_15_lines(tmp_path):
    from bench.check import check_method

    source = block("python", "@register")
    assert len(source[source.index("@register") :].strip().splitlines()) <= 15
    path = tmp_path / "my_method.py"
    path.write_text(source, encoding="utf-8")
    registry.load_plugin(path)
    try:
        findings = list(check_method("poly1"))
        assert len(findings) > 8
        assert {finding.state for finding in findings} == {"ok"}, findings
    finally:
        registry._classes.pop("poly1")


def test_the_grid():
    assert expand(Grid.model_validate(tomllib.loads(block("toml", "preset"))))


def test_the_commands_exist():
    app = typer.Typer()
    commands.register(app)
    group = typer.main.get_command(app)
    called = [shlex.split(line.split("#")[0]) for line in re.findall(r"^ {4}(bench .*?)\\?$", README, re.MULTILINE)]
    assert len(called) >= 8
    for _, name, *words in called:
        command = group.commands[name]
        command = command.commands[words[0]] if hasattr(command, "commands") else command
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def against(control):
    """The reference results against a method, in both halves."""
    return analyse(RESULTS / "reference", Choices(control=control, group="domain"))


@pytest.fixture(scope="module")
def reference():
    return against("coop_ce")


def test_the_table_of_the_reference_results(reference):
    """Mean accuracy in and out of domain, clean and at 50 and 75 % noise; and the median seconds of a run's share of its stack."""
    rows = [line.strip("| ").split(" | ") for line in README.splitlines() if line.count("|") == 9 and "--" not in line]
    shown = {label: [float(number) for number in numbers] for label, *numbers, _ in rows[1:]}
    means = [
        cells.wide(cells.at(reference.groups[domain].runs, "symmetric" if rate else "clean", rate)).mean().round(1)
        for domain in ("in", "out")
        for rate in (0.0, 0.5, 0.75)
    ]
    assert shown == {label: [mean[label] for mean in means] for label in reference.labels}
    seconds = reference.runs[reference.runs["trained"]].groupby("label")["wall_seconds"].median().map("{:.1f}".format)
    assert {label: cost for label, *_, cost in rows[1:] if cost != "–"} == seconds.to_dict()
    outside = pd.concat(means[3:], axis=1)
    lost = outside.lt(outside.loc["Zero-shot CLIP"]).any(axis=1)
    assert set(lost.index[lost]) == {"CoOp", "JoAPR"}
    assert "Out of domain all gain, but CoOp and JoAPR at 75 %." in README


def test_the_answers_of_the_reference_results():
    text = (RESULTS / "README.md").read_text(encoding="utf-8")
    for sentence in answers(RESULTS / "reference", "dspt", ["mae", "gce", "sce"]):
        assert f"* {sentence}\n" in text


def rows_of_text():
    """All table rows of results/README.md, as lists of cells."""
    lines = (RESULTS / "README.md").read_text(encoding="utf-8").splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]


def table_of(head):
    """A table of results/README.md by its first cell: its rows' other cells, by their first."""
    text = (RESULTS / "README.md").read_text(encoding="utf-8").split(f"| {head} |", 1)[1].split("\n\n", 1)[0]
    rows = (line.strip("| ").split(" | ") for line in text.splitlines()[2:])
    return {row[0]: row[1:] for row in rows}


def chosen_by_noisy_validation(control):
    return analyse(RESULTS / "learning-rates", Choices(control=control, group="domain", select="noisy_val"))


def test_methods_at_their_own_step_sizes():
    """The sentences and the table of results/README.md, the README's, and that every best rate but cross entropy's is inside."""
    text, versus = (RESULTS / "README.md").read_text(encoding="utf-8"), chosen_by_noisy_validation("dspt").groups
    said = [keeps(part, name) for name, part in chosen_by_noisy_validation("zero_shot").groups.items()]
    said += [more_than(part, name, ["GCE", "PromptMAE", "SCE"]) for name, part in versus.items()]
    assert all(f"* {sentence}\n" in text for sentence in said)
    rivals = versus["in"].versus.loc[["GCE", "PromptMAE", "SCE"]]
    assert set(rivals["claim"]) == {"undecided"}
    assert (rivals["p_equivalent"] < 0.95).all()
    assert versus["out"].versus.loc[["SCE", "GCE"], "difference"].round(1).tolist() == [3.8, 3.5]
    assert versus["out"].versus.loc[["SCE", "GCE", "PromptMAE"], "claim"].tolist() == ["better", "better", "undecided"]
    runs = load(RESULTS / "learning-rates").frame.query("trained")
    means = runs.pivot_table(index=["domain", "method_title"], columns="lr", values="accuracy")
    for (domain, method), row in means.iterrows():
        place = "in domain" if domain == "in" else "out of domain"
        assert [f"{method}, {place}", *(f"{mean:.1f}" for mean in row)] in rows_of_text()
        assert (row.idxmax() in row.index[1:-1]) is ((domain, method) != ("in", "CoOp"))
    assert means.loc[[("out", "DSPT"), ("out", "PromptMAE")]].idxmax(axis=1).tolist() == [0.128, 0.128]
    assert means.loc[("out", "DSPT"), 0.128:].min() > means.loc[("out", "DSPT")].max() - 1.5


def by_tie(name):
    """How often learning rates tie at the best noisy validation, and all against DSPT whichever of them is taken."""
    frame = load(RESULTS / name).frame.query("trained")
    cell = ["domain", "method_title", "dataset", "seed"]
    best = frame[frame["val_noisy"] == frame.groupby(cell)["val_noisy"].transform("max")]
    often = best.groupby(cell).size().gt(1).groupby(["domain", "method_title"]).mean() * 100
    rates = best.sort_values("lr").groupby(cell)["accuracy"]
    found = {}
    for tie, chosen in {"lower": rates.first(), "averaged": rates.mean(), "higher": rates.last()}.items():
        for domain, part in chosen.groupby("domain"):
            means = part.reset_index().pivot_table(index="dataset", columns="method_title", values="accuracy")
            found[tie, domain] = against_control(means, "DSPT")
    return often, pd.concat(found)


def test_what_hangs_on_how_ties_of_validation_are_broken():
    often, against = by_tie("learning-rates")
    shown = often.drop("CoOp", level=1).round()
    assert shown["in"].to_dict() == {"DSPT": 61, "GCE": 59, "PromptMAE": 61, "SCE": 50}
    assert (shown["out"].min(), shown["out"].max()) == (19, 41)
    gce, sce = (against.xs(name, level=2).swaplevel().sort_index(ascending=[True, False]) for name in ("GCE", "SCE"))
    order = ["lower", "averaged", "higher"]
    assert gce.loc["out"].loc[order, "difference"].round(1).tolist() == [3.5, 3.4, 3.4]
    assert set(gce.loc["out", "claim"]) == {"better"}
    assert "GCE (+3.5) leads, and SCE (+3.8) if validation ties go to the lower rate." in README
    text = " ".join((RESULTS / "README.md").read_text(encoding="utf-8").split())
    assert "+3.5, with ties averaged or the higher rate +3.4, each claimed." in text
    for domain, start in (("out", "SCE's does:"), ("in", "In domain SCE minus DSPT is")):
        rows = sce.loc[domain].loc[order].itertuples()
        said = ", ".join(f"{row.difference:+.1f} ({row.p_holm:.3f})".replace("0.", ".") for row in rows)
        assert f"{start} {said}." in text
    _, clean = by_tie("learning-rates-clean")
    clean = clean.reset_index(names=["tie", "domain", "label"]).query("domain == 'out' and label in ['GCE', 'SCE']")
    assert (len(clean), set(clean["claim"])) == (6, {"better"})


def test_the_table_and_the_findings_of_the_whole_roster():
    groups = analyse(RESULTS / "roster", Choices(control="dspt", group="domain")).groups
    shown = table_of("50 % noise")
    assert set(shown) == set(groups["in"].labels)
    for place, part in enumerate(groups.values()):
        for label, score in part.scores.mean().items():
            row = part.versus.reindex([label]).iloc[0]
            claim = f", {row['claim']}" if row["claim"] in {"better", "worse"} else ""
            against_dspt = "–" if pd.isna(row["difference"]) else f"{row['difference']:+.1f}{claim}"
            assert shown[label][2 * place : 2 * place + 2] == [f"{score:.1f}", against_dspt]
            assert shown[label][4 + place] == f"{part.clean[label].mean():.1f}"
    inside, outside = (part.versus for part in groups.values())
    assert (inside["claim"] != "better").all()
    assert ((inside["claim"] == "worse").sum(), (outside["claim"] == "better").sum()) == (17, 10)
    near = inside["difference"].abs() < 0.5
    assert near.drop("Zero-shot CLIP").sum() == 19
    zero_shot = float(groups["in"].zero_shot.mean())
    means = groups["in"].scores.mean()
    assert (means[near[near].index] - zero_shot).abs().max() < 0.6
    softened = ["Label smoothing", "Mixup", "Soft bootstrapping", "SAT", "SELC"]
    assert (means[softened] - means["CoOp"]).between(-5, 2).all()
    assert f"({len(means)} rows, 50 % noise)" in README
    free = (inside["p_equivalent"] > 0.95) & (outside["claim"] == "better")
    assert sorted(free[free].index) == ["DSPT-T", "JS"]
    above_in, above_out = (part.clean.mean().drop(["Clean only †", "Co-teaching (true rate) †"]) for part in groups.values())
    above_in, above_out = above_in - above_in["DSPT"], above_out - above_out["DSPT"]
    above_in, above_out = above_in.drop("DSPT"), above_out.drop("DSPT")
    assert (len(above_in), (above_in.abs() < 0.5).sum(), (above_in < -1).sum(), (above_out > 0).sum()) == (46, 18, 14, 36)


@pytest.mark.parametrize("name", ["pair-flips", "confusions"])
def test_pair_flips_and_confusions(name):
    text, versus = (RESULTS / "README.md").read_text(encoding="utf-8"), {}
    for control, said in (("zero_shot", keeps), ("dspt", lambda part, domain: more_than(part, domain, RIVALS))):
        groups = analyse(RESULTS / name, Choices(control=control, group="domain")).groups
        assert all(f"* {said(part, domain)}\n" in text for domain, part in groups.items())
        versus[control] = {domain: part.versus for domain, part in groups.items()}
    outside, inside = versus["dspt"]["out"], versus["dspt"]["in"]
    ahead = set(outside.index[outside["claim"] == "better"])
    if name == "pair-flips":
        assert (versus["zero_shot"]["in"]["difference"].drop("CoOp").abs() < 1).all()
        assert ahead == {"SCE", "NCE+RCE", "RCE", "GCE", "GCE(q=0.5)"}
        return
    kept = versus["zero_shot"]["in"]["difference"]
    assert set(kept.index[kept > -0.5]) == {"DSPT", "PromptMAE", "JoAPR"}
    below = inside.loc[["GCE", "GCE(q=0.5)", "NLPrompt", "CLIPCleaner", "SCE", "RCE", "NCE+RCE", "CoOp"]]
    assert (below["claim"] == "worse").all()
    assert below.loc[["GCE", "SCE"], "difference"].round(1).tolist() == [-0.4, -4.5]
    assert below.loc["GCE", "p_equivalent"] > 0.95
    assert below.loc[["SCE", "RCE", "NCE+RCE"], "difference"].sub(below.loc["CoOp", "difference"]).abs().max() < 1
    assert outside["difference"].idxmax() == "CoOp"
    frames = (load(RESULTS / "confusions").frame, load(RESULTS / "roster").frame.query("rate == 0.5"))
    means = [frame.query("domain == 'out' and trained").groupby("label")["accuracy"].mean() for frame in frames]
    more = (means[0] - means[1]).dropna()
    assert set(more.index[more > 0]) == {"coop_ce", "joapr"}


RIVALS = ["GCE", "GCE(q=0.5)", "PromptMAE", "SCE", "NLPrompt"]


def test_methods_at_their_own_step_sizes_on_clean_labels():
    text, store = (RESULTS / "README.md").read_text(encoding="utf-8"), RESULTS / "learning-rates-clean"
    zero_shot, dspt = (
        analyse(store, Choices(control=control, group="domain", select="noisy_val")).groups for control in ("zero_shot", "dspt")
    )
    said = [keeps(part, name) for name, part in zero_shot.items()]
    said += [more_than(part, name, ["GCE", "PromptMAE", "SCE"]) for name, part in dspt.items()]
    assert all(f"* {sentence}\n" in text for sentence in said)
    assert set(zero_shot["in"].versus["claim"]) == {"undecided"}
    assert (zero_shot["in"].versus["difference"].abs() < 0.5).all()
    claims = dspt["out"].versus["claim"]
    assert claims[["GCE", "SCE", "PromptMAE", "CoOp"]].tolist() == ["better", "undecided", "undecided", "undecided"]
    runs = load(store).frame.query("trained")
    means = runs.pivot_table(index=["domain", "method_title"], columns="lr", values="accuracy")
    for (domain, method), row in means.iterrows():
        place = "in domain" if domain == "in" else "out of domain"
        assert [f"{method}, {place}", *(f"{mean:.1f}" for mean in row)] in rows_of_text()
        assert row.idxmax() in row.index[1:-1]


def test_what_the_readme_says_in_words(reference):
    """Its plain sentences, as comparisons of the numbers that they speak of."""
    inside, outside = (reference.groups[domain] for domain in ("in", "out"))
    versus = {name: part.versus for name, part in against("zero_shot").groups.items()}
    dspt = {name: part.versus for name, part in against("dspt").groups.items()}
    kept = ["DSPT", "PromptMAE", "GCE", "GCE(q=0.5)", "NLPrompt", "JoAPR"]
    assert versus["in"].loc[kept, "difference"].abs().lt(0.55).all()
    assert round(versus["in"].loc["CoOp", "difference"]) == -25
    assert versus["in"].loc[["SCE", "RCE", "NCE+RCE"], "p_worse"].ge(0.95).all()
    assert versus["in"].loc[["SCE", "RCE", "NCE+RCE"], "difference"].between(-3, -0.5).all()
    assert (versus["out"]["difference"] > 0).all()
    gains = outside.clean.sub(outside.zero_shot, axis=0).mean()
    assert gains[["DSPT", "PromptMAE"]].between(0.4 * gains["SCE"], 0.55 * gains["SCE"]).all()
    lost = gains["CoOp"] - versus["out"].loc["CoOp", "difference"]
    assert gains["CoOp"] > 0.75 * gains["SCE"]
    assert lost > 0.5 * gains["CoOp"]
    assert (dspt["in"].loc[["PromptMAE", "GCE", "GCE(q=0.5)"], "p_equivalent"] >= 0.95).all()
    assert dspt["in"].loc["SCE", "claim"] == dspt["out"].loc["PromptMAE", "claim"] == "worse"
    assert (dspt["out"].loc[["GCE", "GCE(q=0.5)", "SCE"], "claim"] == "better").all()
    assert -1 < dspt["out"].loc["PromptMAE", "difference"] < 0
    assert float(inside.zero_shot.mean()) > 4 * float(outside.zero_shot.mean())
