"""The worked notebook runs, from the committed reference results alone."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_notebook_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    made = json.loads((ROOT / "results" / "notebook.ipynb").read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in made["cells"]), "commit it without outputs"
    names = {}
    for number, source in enumerate(code):
        exec(compile(source, f"cell {number}", "exec"), names)  # as a kernel does, one after another
    shown = names["frame"].query("method in @main", local_dict={"main": names["main"]})[["method", "params"]].drop_duplicates()
    assert len(names["board"]) == len(shown) == len(names["main"]) + 1  # GCE is there with two values of q
    rows = names["frame"].query("method == 'gce' and dataset == 'digits' and rate > 0 and noise == 'symmetric'")
    assert names["gains"].loc["digits", "gce"] == pytest.approx((rows["accuracy"] - rows["zero_shot"]).mean())
    assert names["compared"].worse == []
