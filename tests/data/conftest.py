"""What the data tests share: the folder of published lists, and images drawn here."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def published() -> Path:
    """CoOp's published lists and the CIFAR-N label files, which are not ours to ship."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"{folder} with the published lists is not here")
    return folder
