"""Claims of living and dead runners, here and on other machines, whatever the clocks say."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.runner import claims
from bench.runner.claims import EXPIRES, Claims, running

ONE, TWO = "000000000000000a-00000000", "000000000000000b-00000000"


@pytest.fixture
def two(tmp_path: Path):
    pair = Claims(tmp_path), Claims(tmp_path)
    yield pair
    for one in pair:
        one.close()


def test_a_run_belongs_to_one_runner_until_it_is_given_back(two, tmp_path):
    first, second = two
    assert first.take(ONE)
    assert not second.take(ONE)
    assert second.take(TWO)
    assert running(tmp_path) == [ONE, TWO]
    first.release([ONE, TWO])  # only one's own
    assert running(tmp_path) == [TWO]
    assert second.take(ONE)
    second.close()
    assert running(tmp_path) == []


def test_ctrl_c_right_behind_a_claim_leaves_none(two, tmp_path, monkeypatch):
    first, second = two
    assert second.take(TWO)
    link = Path.hardlink_to

    def interrupted(claim, owner):
        link(claim, owner)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "hardlink_to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.take(ONE)
    assert not first.take(TWO)
    first._held.add(TWO)  # as Ctrl-C before it is known whose it is would leave it
    first.close()
    assert running(tmp_path) == [TWO]


def test_what_a_runner_killed_as_it_began_has_left_is_removed_when_it_is_old(two, tmp_path):
    """Whose file is young may be alive, and about to lock it; whose is locked is; and some files are nobody's."""
    names = ["here-1-00000000.new", "here-2-00000000.new", "here-3-00000000.new", "notes.new"]
    young, old, locked, foreign = (tmp_path / "claims" / name for name in names)
    link = tmp_path / "claims" / "here-4-00000000.new"
    link.symlink_to(foreign)
    for path in (young, old, locked, foreign):
        path.touch()
    for path in (old, locked, foreign):
        os.utime(path, (time.time() - 2 * EXPIRES,) * 2)
    with locked.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Claims(tmp_path).close()
    assert [path.exists() for path in (young, old, locked, foreign)] == [True, False, True, True]
    assert link.is_symlink()


def test_a_killed_runners_claims_are_free_at_once(tmp_path):
    code = f"import os, pathlib, sys; from bench.runner.claims import Claims; Claims(pathlib.Path(sys.argv[1])).take('{ONE}')"
    subprocess.run([sys.executable, "-c", f"{code}; os.kill(os.getpid(), 9)", str(tmp_path)], check=False)
    assert {path.suffix for path in (tmp_path / "claims").iterdir()} == {"", ".owner"}
    one = Claims(tmp_path)
    assert one.alone()  # what the dead one has left is gone
    assert one.take(ONE)
    one.close()
    assert not list((tmp_path / "claims").iterdir())


@pytest.mark.parametrize(("age", "free"), [(0, False), (EXPIRES - 60, False), (EXPIRES + 60, True), (-EXPIRES - 60, True)])
def test_another_machines_claims_hold_as_long_as_it_gives_signs_of_life(two, monkeypatch, age, free):
    """Its lock cannot be seen from here. A clock that jumped, in either direction, frees a claim; work is done twice at worst."""
    first, second = two
    assert first.take(ONE)
    monkeypatch.setattr(claims.socket, "gethostname", lambda: "another")
    os.utime(first.folder / ONE, (time.time() - age,) * 2)
    assert second.take(ONE) is free


def test_a_suspended_runner_keeps_its_claims(two, tmp_path):
    """A closed laptop gives no sign of life, but its lock says that it will go on."""
    first, second = two
    assert first.take(ONE)
    os.utime(first.folder / ONE, (0, 0))
    assert not second.take(ONE)
    Claims(tmp_path).close()
    first.beat()
    assert running(tmp_path) == [ONE]


def test_a_sign_of_life_renews_all_claims(two, monkeypatch):
    first, second = two
    assert first.take(ONE)
    monkeypatch.setattr(claims.socket, "gethostname", lambda: "another")
    os.utime(first.folder / ONE, (0, 0))
    first.beat()
    assert not second.take(ONE)


def test_what_dead_runners_left_is_swept_away(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()
    for name in ("old-1.owner", ONE):
        (folder / name).write_text("another")
        os.utime(folder / name, (0, 0))
    (folder / TWO).write_text("another")
    Claims(tmp_path).close()
    assert [path.name for path in folder.iterdir()] == [TWO]
