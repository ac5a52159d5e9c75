"""A tiny model under a name of open_clip's."""

import json

import open_clip
import pytest

NAME = "tiny-test-clip"


@pytest.fixture(scope="module")
def named(tiny_model, tmp_path_factory):
    """The tiny model under a name of open_clip's, and its state."""
    config = json.loads((tiny_model / "open_clip_config.json").read_text())["model_cfg"]
    path = tmp_path_factory.mktemp("configs") / f"{NAME}.json"
    path.write_text(json.dumps(config))
    open_clip.add_model_config(path)
    return open_clip.create_model(f"local-dir:{tiny_model}").eval()
