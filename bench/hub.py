"""What Hugging Face's hub refuses, and what goes wrong on the way, as one sentence each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from bench.errors import ENVIRONMENT, BenchError

TRANSFER: tuple[type[Any], ...] = (*HfHubHTTPError.__bases__, OSError)  # of whatever library carries the hub's requests
AGAIN = "Start the command again: what is whole is kept."


def endpoint() -> str | None:
    """The hub that HF_ENDPOINT names; None: Hugging Face's own."""
    return os.environ.get("HF_ENDPOINT") or None


@contextmanager
def told(what: str) -> Iterator[None]:
    """The hub's errors as one sentence each."""
    try:
        yield
    except GatedRepoError as error:
        hint = "Accept them on its page, and log in: hf auth login."
        raise BenchError(f"{what}: access is gated, its owners want terms accepted first.", hint, ENVIRONMENT) from error
    except RepositoryNotFoundError as error:
        raise BenchError(f"{what}: not on the hub, or private.", "Check the name; log in with: hf auth login.") from error
    except RevisionNotFoundError as error:
        raise BenchError(f"{what}: there is no such revision.", "Name a branch, a tag or a commit.") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise BenchError(f"{what}: could not be fetched, the hub cannot be reached.", AGAIN, ENVIRONMENT) from error
    except EntryNotFoundError as error:
        raise BenchError(f"{what}: a file that is listed is not there.", "Name another revision.", ENVIRONMENT) from error
    except HFValidationError as error:
        raise BenchError(f"{what}: not a repository's name.", "Name OWNER/NAME.") from error
    except TRANSFER as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise BenchError(f"{what}: could not be fetched ({reason}).", AGAIN, ENVIRONMENT) from error
