"""The table of what prompts can be tuned on is what the installed open_clip says."""

import re
from pathlib import Path

import open_clip
import pytest

from bench.backbones.tokenizers import needs_transformers, unusable
from bench.prepare.survey import table, verdict

MODELS = open_clip.list_models()  # before other tests add theirs
README = Path(__file__).parents[2] / "datasets" / "README.md"
ROW = re.compile(r"^\| (shared|plain|refused) \| (.*?) \| (open_clip|transformers) \| (\d+): (.*) \|$", re.MULTILINE)


def listed():
    """The committed table: (path, why, tokenizer) of each model."""
    rows = ROW.findall(README.read_text(encoding="utf-8").replace("|  |", "| - |"))
    found = {
        name: (path, "" if why == "-" else why, tok) for path, why, tok, _, names in rows for name in re.findall("`(.*?)`", names)
    }
    assert sum(int(row[3]) for row in rows) == len(found)
    return found


@pytest.mark.skipif(f"open_clip {open_clip.__version__}" not in README.read_text(encoding="utf-8"), reason="another open_clip")
def test_the_committed_table_has_every_model_with_its_refusal_and_tokenizer():
    found = listed()
    assert sorted(found) == sorted(MODELS)
    for model, (path, why, tokenizer) in found.items():
        assert (path == "refused") == bool(unusable(model))
        assert path != "refused" or why == unusable(model)
        assert (tokenizer == "transformers") == needs_transformers(model)


@pytest.mark.parametrize(
    "model", ["ViT-B-32", "RN50-quickgelu", "ViT-B-16-SigLIP", "MobileCLIP2-S0", "ViT-H-14-CLIPA", "coca_ViT-B-32"]
)
def test_a_tower_built_without_memory_says_what_the_committed_table_says(model):
    found = verdict(model)
    assert (found.path, found.why, found.tokenizer) == listed()[model]
    assert f"| 1: `{model}` |" in table([found])


def test_the_path_follows_from_the_towers_mask_and_pooling():
    """Read off open_clip's configurations, not off the towers that the survey builds."""
    for model in ("ViT-B-32", "ViT-B-16-SigLIP", "ViT-H-14-CLIPA"):
        text = open_clip.get_model_config(model)["text_cfg"]
        causal = not text.get("no_causal_mask", False) and text.get("pool_type", "argmax") in {"argmax", "eos"}
        assert listed()[model][0] == ("shared" if causal else "plain")
