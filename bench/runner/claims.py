"""Claims, so that several runners on one store share the work.

A runner owns the file `claims/<owner>.owner`, which it keeps locked and touches while it lives; a claim is a hard link to it named
after the run. So a claim of this machine holds while it is locked (a killed runner's lock is gone at once, a suspended one's is
not), one of another machine while it was touched within `EXPIRES`. Claims only save work: should two runners take one run after
all, the store keeps the first.
"""

import contextlib
import errno
import fcntl
import os
import re
import socket
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from bench.errors import ENVIRONMENT, BenchError
from bench.results.store import RUN_ID

EXPIRES = 600.0  # seconds without a sign of life
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)  # what file systems without hard links answer
BEAT = 30.0  # seconds between signs of life
NEW = re.compile(r"-\d+-[0-9a-f]{8}\.new$")  # an owner's file before it is locked


class Claims:
    """One runner's claims in a store.

    Args:
        root: The store's folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "claims"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._path = self.folder / f"{self.owner}.owner"
        new = self._path.with_suffix(".new")  # until it is locked, another runner would take it for a dead one's
        self._file = new.open("w", encoding="utf-8")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.write(socket.gethostname())
        self._file.flush()
        new.rename(self._path)
        self._held: set[str] = set()
        self._sweep()

    def _sweep(self) -> None:
        """Remove what dead runners have left: claims and owners' files that nobody holds."""
        now = os.fstat(self._file.fileno()).st_mtime
        for path in _files(self.folder):
            with contextlib.suppress(FileNotFoundError, PermissionError):  # one that cannot be read is another user's
                if path != self._path and not _holds(path, now):
                    path.unlink()
        for path in self.folder.glob("*.new"):  # of runners that were killed as they began; a young one's may not be locked yet
            with contextlib.suppress(OSError):
                if (
                    NEW.search(path.name)
                    and path.is_file()
                    and not path.is_symlink()
                    and now - path.stat().st_mtime > EXPIRES
                    and not _locked(path)
                ):
                    path.unlink()

    def alone(self) -> bool:
        """Whether no other runner lives here."""
        return list(_files(self.folder)) == [self._path]

    def beat(self) -> None:
        """A sign of life, for all claims at once."""
        os.utime(self._file.fileno())

    def check(self) -> None:
        """Whether the results folder is still the one that this runner lives in.

        Raises:
            BenchError: Somebody has removed or replaced it.
        """
        if not self._path.exists():
            raise self._gone()

    def _gone(self) -> BenchError:
        where = f"the results folder {self.folder.parent} was removed or replaced while runs were going on."
        return BenchError(where, "Start again: what is no longer there is made anew.", ENVIRONMENT)

    def take(self, run_id: str) -> bool:
        """Claim a run; False where another living runner holds it."""
        claim = self.folder / run_id
        self._held.add(run_id)  # before it is true, so that Ctrl-C in between leaves nothing; `release` looks whose it is
        try:
            claim.hardlink_to(self._path)
        except FileExistsError:
            if self._alive(claim):
                self._held.discard(run_id)
                return False
            claim.unlink(missing_ok=True)
            return self.take(run_id)
        except FileNotFoundError as error:
            raise self._gone() from error
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            # nothing can be claimed on this file system; the store still keeps every run once
        return True

    def _alive(self, claim: Path) -> bool:
        """Whether the claim's owner lives. Times are the file system's, so the clocks of machines need not agree."""
        try:
            return _holds(claim, os.fstat(self._file.fileno()).st_mtime)
        except FileNotFoundError:  # given back meanwhile
            return False

    def release(self, run_ids: Iterable[str]) -> None:
        """Give runs back."""
        for run_id in self._held.intersection(run_ids):
            claim = self.folder / run_id
            with contextlib.suppress(FileNotFoundError):
                if claim.samefile(self._path):
                    claim.unlink()
            self._held.discard(run_id)

    def close(self) -> None:
        """Give everything back."""
        self.release(list(self._held))
        self._path.unlink(missing_ok=True)
        self._file.close()


def _files(folder: Path) -> list[Path]:
    """The claims and owners in a folder, and nothing else that lies there."""
    named = (path for path in folder.glob("*") if path.suffix == ".owner" or RUN_ID.fullmatch(path.name))
    return [path for path in named if path.is_file() and not path.is_symlink()]


def running(root: Path) -> list[str]:
    """The runs that living runners hold."""
    found = []
    for claim in _files(root / "claims"):
        with contextlib.suppress(FileNotFoundError):
            if claim.suffix != ".owner" and _holds(claim, time.time()):
                found.append(claim.name)
    return sorted(found)


def held_here(root: Path) -> list[str]:
    """The runs that this process's runner holds."""
    own = [path.stat().st_ino for path in (root / "claims").glob(f"{socket.gethostname()}-{os.getpid()}-*.owner")]
    claims = [path for path in _files(root / "claims") if path.suffix != ".owner"]
    return sorted(path.name for path in claims if path.stat().st_ino in own)


def _holds(claim: Path, now: float) -> bool:
    if claim.read_text(encoding="utf-8", errors="replace") == socket.gethostname():
        return _locked(claim)  # whatever its age: a runner that was suspended for an hour goes on
    return abs(now - claim.stat().st_mtime) <= EXPIRES


def _locked(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
